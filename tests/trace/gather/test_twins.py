"""Twins of served answers: drawn as the answers were, once, and scored."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gathered import DIGEST, GREEN, ItemFile, killed, server_suspect
from made_keys import key_of

from potstill.errors import PotstillError
from potstill.logs.serving import ServedCall, ServedMark
from potstill.models.likelihood import likelihood_of
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.trace.gather.local import LocalModel
from potstill.trace.gather.remote import RemoteModel
from potstill.trace.gather.scores import ScoringModel, gather_scores, reads_texts
from potstill.trace.gather.twins import draw_twins, read_twins, twin_requests
from potstill.trace.served import (
    TwinSet,
    read_served_log,
    salted_answer,
    served_exchanges,
)
from potstill.trace.twins import TwinsItem, TwinsPlanned, twins_finding
from potstill.watermark.schemes import GreenList
from reading_server import ReadingServer

SALT = "5a" * 32


@pytest.fixture(scope="module")
def llama(nano_llama: Path) -> LoadedModel:
    return load(str(nano_llama), device="cpu", precision="fp32", date="2026-01-31")


@pytest.fixture(scope="module")
def rows(answers: Any) -> tuple[ServedCall, ...]:
    """What a run's teacher served, by the run's exchanges."""
    return read_served_log(str(answers.root)).rows


def planned(rows: tuple[ServedCall, ...], twins: int = 3, **more: Any) -> TwinsPlanned:
    values = {"snapshot": rows[0].snapshot, "temperature": 1.0} | more
    exchanges = tuple(served_exchanges(rows, twins, SALT))
    return TwinsPlanned(configuration="c", exchanges=exchanges, **values)


def draw(
    plan: TwinsPlanned, llama: LoadedModel, rows: Any, path: Path, **more: Any
) -> list[TwinSet]:
    local = more.pop("local", LocalModel(llama, slots=5))
    return draw_twins(plan, local, rows, SALT, DIGEST, path, **more)


def score(
    plan: TwinsPlanned, suspect: Any, sets: list[TwinSet], log: ItemFile, reference: Any = None
) -> list[Any]:
    gather_scores(plan, suspect, reference, sets, SALT, log.items, log.append)
    return log.items


def test_twins_are_fresh_answers_by_the_plans_numbers(
    llama: LoadedModel, rows: tuple[ServedCall, ...], tmp_path: Path
) -> None:
    plan = planned(rows)
    sets = draw(plan, llama, rows, tmp_path / "a.jsonl")
    assert [(one.prompt, one.served) for one in sets] == [
        (row.prompt_token_ids, row.response_token_ids) for row in rows
    ]
    assert {len(one.twins) for one in sets} == {3}
    assert len({twin for one in sets for twin in one.answers}) > len(sets) * 2
    assert all(len(twin) <= 12 for one in sets for twin in one.twins)
    assert draw(plan, llama, rows, tmp_path / "b.jsonl") == sets
    other = draw_twins(plan, LocalModel(llama, slots=5), rows, SALT, "e" * 64, tmp_path / "c.jsonl")
    assert other != sets


def test_a_killed_run_draws_none_twice_and_ends_at_the_same_twins(
    llama: LoadedModel, rows: tuple[ServedCall, ...], tmp_path: Path
) -> None:
    import os
    import signal

    plan, path = planned(rows), tmp_path / "k.jsonl"
    whole = draw(plan, llama, rows, tmp_path / "whole.jsonl")

    class Dying:
        """A step at whose second report the process dies."""

        reports = 0

        def advance(self, amount: float = 1.0, **figures: Any) -> None:
            self.reports += 1
            if self.reports == 3:
                os.kill(os.getpid(), signal.SIGKILL)

    killed(lambda: draw(plan, llama, rows, path, step=Dying()) and None)
    lines = path.read_bytes().splitlines()
    assert len(lines) == 10
    path.write_bytes(b"\n".join(lines[:8]) + b"\n" + lines[8][:20])
    assert draw(plan, llama, rows, path) == whole
    assert path.read_bytes().splitlines()[:8] == lines[:8]
    assert len(path.read_bytes().splitlines()) == 3 * len(rows)


def test_what_was_drawn_elsewhere_is_read_and_nothing_may_be_missing(
    llama: LoadedModel, rows: tuple[ServedCall, ...], tmp_path: Path
) -> None:
    plan, path = planned(rows), tmp_path / "a.jsonl"
    sets = draw(plan, llama, rows, path)
    assert read_twins(plan, rows, SALT, path) == sets
    wanted = twin_requests(plan, rows, SALT, DIGEST)
    assert len({request.seed for request in wanted}) == len(wanted) == 3 * len(rows)
    assert (wanted[0].temperature, wanted[0].max_tokens) == (1.0, 12)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1:]))
    with pytest.raises(PotstillError, match="lacks 1 of the twins"):
        read_twins(plan, rows, SALT, path)
    for twice in (lines[:1] * 2, [b'{"exchange":0,"ids":[],"twin":0}\n']):
        path.write_bytes(b"".join(twice))
        with pytest.raises(PotstillError, match="stands there before, or has no ids"):
            read_twins(plan, rows, SALT, path)
    path.write_bytes(b'{"exchange": 0}\n')
    with pytest.raises(PotstillError, match=r"line 1 of .* is no twin"):
        read_twins(plan, rows, SALT, path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"engine": None}, "an engine that the log does not name"),
        ({"engine": {"name": "vllm"}}, "was served by vllm"),
        ({"snapshot": "another"}, "another snapshot"),
        ({"dtype": "bfloat16"}, "was computed in bfloat16"),
    ],
)
def test_what_was_served_otherwise_is_refused(
    llama: LoadedModel,
    rows: tuple[ServedCall, ...],
    tmp_path: Path,
    change: dict[str, Any],
    said: str,
) -> None:
    plan = planned(rows)
    dumped = rows[1].model_dump(mode="json", by_alias=True) | change
    changed = (rows[0], ServedCall.model_validate(dumped, strict=False), *rows[2:])
    with pytest.raises(PotstillError, match=said):
        draw(plan, llama, changed, tmp_path / "a.jsonl")
    assert not (tmp_path / "a.jsonl").exists()


def test_another_model_temperature_or_log_is_refused(
    llama: LoadedModel, rows: tuple[ServedCall, ...], tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(PotstillError, match="drawn from the model that served"):
        draw(planned(rows, snapshot="blake3:other"), llama, rows, path)
    with pytest.raises(PotstillError, match="another temperature"):
        draw(planned(rows, temperature=0.5), llama, rows, path)
    with pytest.raises(PotstillError, match="served answer 0 is not the one of the plan"):
        draw(planned(rows), llama, rows[::-1], path)
    with pytest.raises(PotstillError, match="give the served log"):
        draw(planned(rows), llama, rows[:2], path)
    renamed = tuple(row.model_copy(update={"snapshot": "autumn"}) for row in rows)
    named = planned(renamed)
    with pytest.raises(PotstillError, match="drawn from the model that served"):
        draw(named, llama, renamed, path)
    assert len(draw(named, llama, renamed, path, label="autumn")) == len(rows)


def test_marked_answers_have_marked_twins(
    llama: LoadedModel, rows: tuple[ServedCall, ...], tmp_path: Path
) -> None:
    path = tmp_path / "a.jsonl"
    mark = ServedMark(key_id=GREEN.key_id, scheme="green")
    marked = tuple(row.model_copy(update={"watermark": mark}) for row in rows)
    plan = planned(marked)
    with pytest.raises(PotstillError, match=r"are marked with the key .* give that key"):
        draw(plan, llama, marked, path)
    other = GreenList(key_of("another"), 2, 0.5, 4.0)
    with pytest.raises(PotstillError, match="and the one that is given is"):
        draw(plan, llama, marked, path, scheme=other)
    with pytest.raises(PotstillError, match="carry no mark, and a key is given"):
        draw(plan, llama, rows, path, scheme=GREEN)
    with pytest.raises(PotstillError, match="marked otherwise than others"):
        draw(plan, llama, (*marked[:-1], rows[-1]), path, scheme=GREEN)
    sets = draw(plan, llama, marked, path, scheme=GREEN)
    assert sets != draw(plan, llama, rows, tmp_path / "b.jsonl")


def test_scores_are_the_log_likelihoods_of_each_answer(
    llama: LoadedModel, rows: tuple[ServedCall, ...], tmp_path: Path
) -> None:
    plan = planned(rows, reference=llama.identity)
    sets = draw(plan, llama, rows, tmp_path / "t.jsonl")
    log = ItemFile(tmp_path / "a.jsonl", TwinsItem)
    items = score(plan, ScoringModel(llama), sets, log, ScoringModel(llama))
    for item, one in zip(items, sets, strict=True):
        alone = [
            -float(likelihood_of(llama, [(one.prompt, answer)]).nll[0]) for answer in one.answers
        ]
        assert item.suspect_logp == pytest.approx(alone, rel=1e-5)
        assert item.suspect_logp == item.reference_logp
        assert item.tokens == tuple(map(len, one.answers))
        assert item.texts[0] == salted_answer(SALT, one.prompt, one.served)
    found = twins_finding(plan, items, DIGEST)
    assert found.n == len(rows)
    assert found.p > 1e-3


def test_a_killed_scoring_goes_on_to_the_same_items(
    llama: LoadedModel, rows: tuple[ServedCall, ...], tmp_path: Path
) -> None:
    plan = planned(rows)
    sets = draw(plan, llama, rows, tmp_path / "t.jsonl")
    whole = score(plan, ScoringModel(llama), sets, ItemFile(tmp_path / "w.jsonl", TwinsItem))
    path = tmp_path / "k.jsonl"
    dying = ItemFile(path, TwinsItem, dies_after=3)
    killed(lambda: gather_scores(plan, ScoringModel(llama), None, sets, SALT, [], dying.append))
    log = ItemFile(path, TwinsItem)
    assert len(log.items) == 3
    assert score(plan, ScoringModel(llama), sets, log) == whole


def test_a_server_that_reads_text_gives_the_same_scores(
    llama: LoadedModel, rows: tuple[ServedCall, ...], tmp_path: Path
) -> None:
    plan = planned(rows)
    sets = draw(plan, llama, rows, tmp_path / "t.jsonl")
    here = score(plan, ScoringModel(llama), sets, ItemFile(tmp_path / "a.jsonl", TwinsItem))
    with ReadingServer(llama) as server:
        remote = RemoteModel(server_suspect(server.url, scores_text=True), tmp_path / "s.jsonl")
        there = score(plan, remote, sets, ItemFile(tmp_path / "b.jsonl", TwinsItem))
        assert server.requests == 4 * len(rows)
    for mine, theirs in zip(here, there, strict=True):
        assert theirs.suspect_logp == pytest.approx(mine.suspect_logp, rel=1e-4)
    with ReadingServer(llama, shift=9) as server:
        remote = RemoteModel(server_suspect(server.url, scores_text=True), tmp_path / "s2.jsonl")
        silent = score(plan, remote, sets, ItemFile(tmp_path / "c.jsonl", TwinsItem))
    assert {item.outcome for item in silent} == {"unreadable"}
    assert twins_finding(plan, silent, DIGEST).coins == len(rows)


def test_a_suspect_with_another_tokenizer_reads_the_texts(
    llama: LoadedModel, rows: tuple[ServedCall, ...], nano_qwen3: Path, tmp_path: Path
) -> None:
    plan = planned(rows)
    sets = draw(plan, llama, rows, tmp_path / "t.jsonl")
    other = load(str(nano_qwen3), device="cpu", precision="fp32")
    suspect = ScoringModel(other, reads_texts(llama, other))
    items = score(plan, suspect, sets, ItemFile(tmp_path / "a.jsonl", TwinsItem))
    assert all(item.answered for item in items)
    assert twins_finding(plan, items, DIGEST).coins == 0
    prompt, answer = suspect.given(sets[0].prompt, sets[0].served)
    spoken = llama.tokenizer.decode(list(sets[0].prompt))
    assert other.tokenizer.decode(list(prompt)) == spoken
    assert (answer[-1] in other.eos_ids) is (sets[0].served[-1] in llama.eos_ids)


def test_what_a_suspect_has_no_room_for_is_a_coin(
    llama: LoadedModel, rows: tuple[ServedCall, ...], tmp_path: Path
) -> None:
    plan = planned(rows)
    sets = draw(plan, llama, rows, tmp_path / "t.jsonl")
    long = ScoringModel(llama, lambda prompt, answer: (prompt, [*answer] * 40))
    items = score(plan, long, sets, ItemFile(tmp_path / "a.jsonl", TwinsItem))
    assert {item.outcome for item in items} <= {"unreadable", "answered"}
    finding = twins_finding(plan, items, DIGEST)
    assert finding.coins == sum(not item.answered for item in items) > 0


def test_other_sets_or_references_than_the_plans_are_refused(
    llama: LoadedModel, rows: tuple[ServedCall, ...], tmp_path: Path
) -> None:
    plan = planned(rows)
    sets = draw(plan, llama, rows, tmp_path / "t.jsonl")
    log = ItemFile(tmp_path / "a.jsonl", TwinsItem)
    model = ScoringModel(llama)
    for wrong, said in (
        (sets[:1], "draw the twins of all of them first"),
        (sets[::-1], "served answer 0 is not the one of the plan"),
        ([replace(one, twins=one.twins[:1]) for one in sets], "has 1 twins, and 3 are planned"),
    ):
        with pytest.raises(PotstillError, match=said):
            score(plan, model, wrong, log)
    with pytest.raises(PotstillError, match="taken against no model"):
        score(plan, model, sets, log, model)
    named = planned(rows, reference="blake3:other")
    with pytest.raises(PotstillError, match="taken against blake3:other"):
        score(named, model, sets, log)
    with pytest.raises(PotstillError, match="and the plan names blake3:other"):
        score(named, model, sets, log, model)
    assert not log.items
