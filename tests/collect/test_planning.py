"""A plan is made once, knows the right answers of its rows, and asks nobody but for magpie."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from opened_models import open_models
from pipeline_runs import Noted, recipe_values, write_calls
from potstill.collect import planning as module
from potstill.collect.planning import Planning, known_before, new_plan, reading, told_anew
from potstill.collect.prompts import read_prompts
from potstill.exchanges.store import ExchangeStore
from potstill.logs.reading import read_calls
from potstill.progress import Silent
from potstill.recipe import CallsConfig, PromptsConfig, Recipe, TaskConfig
from potstill.terms.gate import Stated, decide
from potstill.terms.licences import Evidence
from potstill.text.turns import Turns
from potstill.work.access import PastCalls, RightAnswers, Server, Weights
from potstill.work.opened import Opened
from potstill.work.speaking import AnswerRoom

ROOM = AnswerRoom(("collect.max_tokens", 8), ("evaluate.max_tokens", 8))
CALLS = CallsConfig(path="calls.jsonl", source="apache-2.0")
ALLOWED = decide("nano", (Evidence("mit", "test", "mit"),), Stated())


@pytest.fixture
def opened(nano_llama: Path, tmp_path: Path) -> Iterator[Opened]:
    """The models of a recipe whose teacher is at hand, and which nobody loads."""
    store = ExchangeStore(tmp_path / "store")
    yield open_models(Recipe.model_validate(recipe_values(nano_llama, "unused")), store)
    store.close()


def planning(source: Path | str, **fields: Any) -> Planning:
    """Return what a recipe says of its prompts; fields of `task` are in `fields`."""
    prompts = PromptsConfig(
        source=str(source), column="prompt", held_out_count=4, validation_count=3, limit=20
    )
    task = TaskConfig(kind="text", **fields) if fields else None
    return Planning(prompts, task, gold=False, room=ROOM, seed=3)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    things = ("lamp", "boat", "apple", "statue", "train", "bell", "rose", "map")
    lines = [
        {"prompt": f"Where are {n * 7} {things[n % 8]}s of {n}?", "right": f"at {n}", "of": n % 2}
        for n in range(30)
    ]
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("author", "source", "known"),
    [
        (Weights("t"), "prompts.jsonl", True),
        (Weights("t"), "magpie", False),
        (RightAnswers("t"), "rows.jsonl", True),
        (PastCalls("t", CALLS), "prompts.jsonl", False),
    ],
)
def test_prompts_that_somebody_has_yet_to_write_are_not_known_before(
    author: Weights | Server | PastCalls | RightAnswers, source: str, known: bool
) -> None:
    assert known_before(author, PromptsConfig(source=source)) is known
    if known:
        assert not known_before(author, PromptsConfig(source=source, held_out="magpie"))


def test_a_plan_knows_what_its_rows_say(rows: Path, opened: Opened) -> None:
    wanted, progress = planning(rows, gold="right", slice="of"), Noted()
    found = new_plan(wanted, None, read_prompts, opened, progress).plan
    assert len(found.validation) == 3 and len(found.held_out) == 4
    for prompt in found.prompts:
        number = str(prompt.messages[0]["content"]).rpartition(" ")[2].strip("?")
        assert (prompt.gold, prompt.slice) == (f"at {number}", str(int(number) % 2))
    assert list(found.notes) == progress.notes
    assert wanted.columns == ["right", "of"]


def test_a_plan_is_told_anew_and_forgets_what_it_knew(rows: Path, opened: Opened) -> None:
    wanted = planning(rows, gold="right", slice="of")
    found = new_plan(wanted, None, read_prompts, opened, Silent()).plan
    other = told_anew(found, planning(rows, slice="of"))
    assert {p.gold for p in other.prompts} == {None}
    assert [p.slice for p in other.prompts] == [p.slice for p in found.prompts]
    bare = told_anew(found, planning(rows))
    assert {(p.gold, p.slice) for p in bare.prompts} == {(None, None)}
    assert told_anew(bare, wanted).prompts == found.prompts
    assert planning(rows).columns == []


def test_a_log_is_planned_from_what_was_asked(tmp_path: Path, opened: Opened) -> None:
    log = read_calls(CallsConfig(path=str(write_calls(tmp_path / "c.jsonl")), use="prompts"))

    def read(source: str, config: PromptsConfig) -> Sequence[Turns]:
        raise AssertionError("no source is read")

    found = new_plan(planning("unused"), log, read, opened, Silent()).plan
    assert {p.source for p in found.prompts} == {"calls:c.jsonl"}
    assert len(found.train) == 20


def test_only_magpie_asks_the_teacher(
    rows: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def written(teacher: Any, config: Any, decision: Any, **more: Any) -> list[str]:
        asked.append({"decision": decision, **more})
        return ["Why?", "How?"]

    monkeypatch.setattr(module, "written_prompts", written)
    read = reading(opened, ALLOWED, seed=5, slots=7, progress=Silent())
    config = PromptsConfig(source=str(rows), column="prompt", system="Be brief.")
    assert len(read(str(rows), config)) == 30 and not asked
    head = {"role": "system", "content": "Be brief."}
    found = read("magpie", config)
    assert [t.messages for t in found] == [
        (head, {"role": "user", "content": text}) for text in ("Why?", "How?")
    ]
    (how,) = asked
    assert how["decision"] is ALLOWED
    assert (how["seed"], how["slots"], how["system"]) == (5, 7, "Be brief.")
