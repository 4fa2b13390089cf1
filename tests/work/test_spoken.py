"""The day on which a run began to speak, and the renderer that it began with."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from potstill.errors import PotstillError
from potstill.models.conversation import VERSION
from potstill.recipe import Recipe
from potstill.work.records import Spoken, Teacher
from potstill.work.rundir import RunDir
from potstill.work.spoken import spoken_since


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    recipe = Recipe.model_validate({"name": "run", "teacher": {"model": "a/b"}})
    return RunDir.open(tmp_path / "run", recipe)


def test_a_run_speaks_as_on_the_day_on_which_it_began(run: RunDir) -> None:
    today = date.today()
    assert spoken_since(run) == today.isoformat()
    assert run.done(Spoken) == Spoken(version=VERSION, date=today)
    run.finish(Spoken(version=VERSION, date=date(2026, 2, 3)))
    assert spoken_since(run) == "2026-02-03"


def test_a_run_that_was_rendered_in_another_way_is_refused(run: RunDir) -> None:
    run.finish(Spoken(version=VERSION - 1, date=date(2026, 2, 3)))
    with pytest.raises(PotstillError, match=r"rendered conversations in another way.*--fresh"):
        spoken_since(run)


@pytest.mark.parametrize("name", ["teacher", "prompts"])
def test_a_run_that_did_not_write_down_how_it_speaks_is_refused(run: RunDir, name: str) -> None:
    run.write_json(f"state/{name}.json", Teacher(identity="x").as_json())
    with pytest.raises(PotstillError, match="rendered conversations in another way"):
        spoken_since(run)
    assert run.done(Spoken) is None


@pytest.mark.parametrize("content", ["{", "{}", '{"version": 1, "date": "some day"}'])
def test_a_damaged_record_of_it_is_an_error(run: RunDir, content: str) -> None:
    run.write_text("state/conversation.json", content)
    with pytest.raises(PotstillError, match=r"conversation.json is damaged.*--fresh"):
        spoken_since(run)
