"""Curate as a function: of stored answers and what they are judged by, without a run directory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from curate_rows import exchange, judge_that

from pipeline_runs import Noted
from potstill.curate.stage import Grounds, curate_answers
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.rows import Mark
from potstill.exchanges.store import ExchangeStore
from potstill.progress import Silent
from potstill.recipe import CurateConfig

NEEDED = {"held_out": "held-out", "validation": "validation"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ExchangeStore]:
    found = ExchangeStore(tmp_path)
    yield found
    found.close()


def rows() -> list[Exchange]:
    """Four to learn from, of which one is empty; two to watch, and two held out."""
    return [
        *(exchange(f"t{i}", f"It is number {i}.", prompt=f"Which is {i}?") for i in range(3)),
        exchange("t3", "", prompt="Which is 3?"),
        *(
            exchange(f"{split[0]}{i}", f"Answer {i}.", prompt=f"{split} {i}?", split=split)
            for split in ("validation", "held_out")
            for i in range(2)
        ),
    ]


def grounds(**of: Any) -> Grounds:
    given = {"gold": {}, "evaluation_texts": (), "judge": None, "unlearnable": {}}
    return Grounds(**{**given, "text_only": False, **of})


def curated(store: ExchangeStore, config: dict[str, Any] | None = None, **more: Any) -> Any:
    """Store rows, curate them, and return what was found."""
    found = more.pop("rows", None) or rows()
    store.append(found)
    options: dict[str, Any] = {
        "needed": NEEDED,
        "measured_on": lambda row: True,
        "progress": Silent(),
        **more,
    }
    known = options.pop("known", None) or grounds()
    return curate_answers(store, found, CurateConfig(**(config or {})), known, **options)


def test_every_answer_is_marked_and_counted(store: ExchangeStore) -> None:
    progress = Noted()
    found = curated(store, progress=progress)
    marks = {mark.exchange_id: mark for mark in store.marks()}
    assert set(marks) == {row.exchange_id for row in rows()}
    assert store.dropped() == {"t3"} and marks["t3"].reason.startswith("empty")
    assert (found.train, found.train_kept) == (4, 3)
    assert progress.notes == ["curate: 3 of 4 training answers kept (1 empty)"]


def test_marks_of_before_are_judged_anew(store: ExchangeStore) -> None:
    found = rows()
    store.append(found)
    store.mark([Mark("t0", "curate", False, "empty: as it was")])
    curated(store, rows=found)
    assert store.dropped() == {"t3"}


def test_where_nothing_is_dropped_nothing_is_said(store: ExchangeStore) -> None:
    progress = Noted()
    curated(store, rows=[row for row in rows() if row.exchange_id != "t3"], progress=progress)
    assert progress.notes == []


def test_what_the_student_cannot_read_is_left_out_of_every_split(store: ExchangeStore) -> None:
    progress = Noted()
    known = grounds(unlearnable={"too_long": {"t0": "900 tokens", "h0": "901 tokens"}})
    found = curated(store, known=known, progress=progress)
    assert store.dropped() == {"t0", "t3", "h0"}
    assert found.dropped == {"invalid": 0, "empty": 1, "too_long": 1, "truncated": 0}
    assert progress.notes == [
        "curate: 1 held-out answers left out: longer than the student reads",
        "curate: 2 of 4 training answers kept (1 empty, 1 too_long)",
    ]


def test_each_ground_is_gone_by(store: ExchangeStore) -> None:
    """Right answers, evaluation texts, a judge, and that a cut-off text is learnt from."""
    found = [
        exchange("right", "It is 7.", prompt="One?"),
        exchange("wrong", "It is 8.", prompt="Two?"),
        exchange("seen", "It is 9.", prompt="the quick brown fox jumps over the lazy dog again"),
        exchange("bad", "It is 10.", prompt="Four?"),
        exchange("cut", "It is 11.", prompt="Five?", finish_reason="length"),
        exchange("held", "Held.", prompt="Six?", split="held_out"),
    ]
    by_prompt = {row.prompt_id: "7" for row in found[:2]}
    known = grounds(
        gold=by_prompt,
        evaluation_texts=["the quick brown fox jumps over the lazy dog again"],
        judge=judge_that(lambda row: "Score: 1" if row.exchange_id == "bad" else "Score: 5"),
        text_only=True,
    )
    config = {
        "verify": {"kind": "number"},
        "judge": {"model": "maker/judge"},
        "decontaminate": {"sources": ["x.jsonl"]},
    }
    result = curated(store, config, rows=found, known=known, needed={"held_out": "held-out"})
    why = {m.exchange_id: m.reason.partition(":")[0] for m in store.marks() if not m.kept}
    assert why == {
        "wrong": "verify",
        "seen": "contaminated",
        "bad": "judge",
        "cut": "truncated",
    }
    assert result.judge == "maker/judge" and result.verified is not None
    # One whose targets are learnt may be cut off.
    curated(store, rows=found, needed={})
    assert "cut" not in store.dropped()


def test_without_a_training_answer_nothing_is_marked(store: ExchangeStore) -> None:
    known = grounds(unlearnable={"too_long": {f"t{i}": "long" for i in range(4)}})
    progress = Noted()
    with pytest.raises(PotstillError, match="curation drops all 4 training responses"):
        curated(store, known=known, progress=progress)
    assert store.marks() == [] and progress.notes == []


@pytest.mark.parametrize(("split", "words"), [("held_out", "held-out"), ("validation", "valid")])
def test_without_an_answer_to_measure_on_nothing_is_trained(
    split: str, words: str, store: ExchangeStore
) -> None:
    lacking = [row for row in rows() if row.split != split]
    with pytest.raises(PotstillError, match=rf"no answer to a {words}.*prompts\.{split}_count"):
        curated(store, rows=lacking)
    # Where no later stage needs it, it may be missing.
    others = {name: said for name, said in NEEDED.items() if name != split}
    assert curated(store, rows=lacking, needed=others).train_kept == 3


def test_held_out_answers_that_are_not_measured_on_do_not_count(store: ExchangeStore) -> None:
    with pytest.raises(PotstillError, match="no answer to a held-out prompt"):
        curated(store, measured_on=lambda row: row.split != "held_out")
    # It is asked about held-out answers alone.
    assert curated(store, measured_on=lambda row: row.exchange_id == "h1").train_kept == 3


def test_dropped_answers_are_nothing_to_measure_on(store: ExchangeStore) -> None:
    known = grounds(unlearnable={"too_long": {"h0": "long", "h1": "long"}})
    with pytest.raises(PotstillError, match="no answer to a held-out prompt"):
        curated(store, known=known)


def test_what_was_odd_is_said(store: ExchangeStore) -> None:
    progress = Noted()
    known = grounds(gold={rows()[0].prompt_id: "0"})
    curated(store, {"verify": {"kind": "number"}}, known=known, progress=progress)
    assert "curate: 2 of 4 training responses have no gold answer: kept" in progress.notes
