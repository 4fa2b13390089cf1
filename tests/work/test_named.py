"""What a recipe names is looked at only where the run will read it."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from typing import Any

import pytest

from potstill.errors import PotstillError
from potstill.recipe import Recipe
from potstill.work.named import check_named

SERVED: dict[str, Any] = {
    "teacher": {"model": "gpt", "endpoint": {"url": "http://h/v1", "provider": "me"}},
    "student": {"model": "some/model"},
    "collect": {"targets": "none"},
    "train": {"cross_entropy": 1},
}


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"name": "mine", "teacher": {"model": "a/b"}, **sections})


@pytest.mark.parametrize(
    "source", ["starter", "magpie", "routing", "orders-unlabelled", "hf:a/b", "hf:a/b:test"]
)
def test_names_that_are_no_paths(source: str) -> None:
    check_named(recipe(prompts={"source": source}))


def test_a_served_model_is_no_path() -> None:
    check_named(recipe(**SERVED))
    student = {"model": "/nowhere/at/all"}
    with pytest.raises(PotstillError, match=r"^student\.model: the model /nowhere/at/all does not"):
        check_named(recipe(**{**SERVED, "student": student}))


def test_whose_calls_are_read_is_no_path(tmp_path: Path) -> None:
    (tmp_path / "calls.jsonl").write_text("{}")
    calls = {"path": [str(tmp_path / "calls.jsonl"), str(tmp_path)]}
    sections = {
        "teacher": {"model": "logged, by someone"},
        "collect": {"targets": "none", "calls": calls},
        # Prompts come with the calls.
        "prompts": {"source": "nowhere.jsonl"},
    }
    check_named(recipe(**{**SERVED, **sections}))
    held_out = {"source": "nowhere.jsonl", "held_out": "neither.jsonl"}
    with pytest.raises(
        PotstillError, match=r"neither\.jsonl does not exist; check prompts\.held_out"
    ):
        check_named(recipe(**{**SERVED, **sections, "prompts": held_out}))


def test_a_folder_of_prompts_is_for_their_reader(tmp_path: Path) -> None:
    check_named(recipe(prompts={"source": str(tmp_path)}))


def test_a_home_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "p.txt").write_text("Hi")
    check_named(recipe(prompts={"source": "~/p.txt"}))
    with pytest.raises(PotstillError, match="lies in a home directory that is not"):
        check_named(recipe(prompts={"source": "~nobody-9/p.txt"}))


@pytest.mark.parametrize("shrink", [{"vocabulary": 400}, {"parameters": 0.5}])
def test_a_place_for_temporary_files_is_looked_for_early(
    shrink: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> str:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    check_named(recipe())
    with pytest.raises(PotstillError, match="the disk is full or a size limit is reached"):
        check_named(recipe(shrink=shrink))
