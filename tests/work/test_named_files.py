"""Files that a recipe names are known by what is in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from potstill.recipe import Recipe
from potstill.work.named_files import changed_fields, digests, named_files


def recipe(**sections: Any) -> Recipe:
    return Recipe.model_validate({"name": "run", "teacher": {"model": "a/b"}, **sections})


def test_files_are_found_with_their_field(tmp_path: Path) -> None:
    names = ("rows.jsonl", "held.jsonl", "set.jsonl", "schema.json")
    rows, held, evaluation, schema = (tmp_path / name for name in names)
    for path in (rows, held, evaluation, schema):
        path.write_text("{}")
    found = named_files(
        recipe(
            prompts={"source": str(rows), "held_out": str(held)},
            curate={"decontaminate": {"sources": ["starter", str(evaluation)]}},
            task={"kind": "json", "json_schema": str(schema)},
        )
    )
    assert [(f.path, f.field) for f in found] == [
        (rows, "prompts.source"),
        (held, "prompts.held_out"),
        (evaluation, "curate.decontaminate.sources"),
        (schema, "task.json_schema"),
    ]


def test_names_that_are_no_files_and_schemas_written_out_are_none(tmp_path: Path) -> None:
    missing = str(tmp_path / "gone.jsonl")
    assert named_files(recipe()) == []
    assert named_files(recipe(prompts={"source": "hf:a/b", "held_out": missing})) == []
    assert named_files(recipe(task={"kind": "json", "json_schema": {"type": "object"}})) == []


def test_a_folder_stands_for_its_files(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl"):
        (tmp_path / name).write_text("{}")
    found = named_files(recipe(prompts={"source": str(tmp_path)}))
    assert [f.path.name for f in found] == ["a.jsonl", "b.jsonl"]


def test_what_has_changed_is_said_by_field(tmp_path: Path) -> None:
    rows, held = tmp_path / "rows.jsonl", tmp_path / "held.jsonl"
    rows.write_text("a")
    held.write_text("b")
    files = recipe(prompts={"source": str(rows), "held_out": str(held)})
    then = digests(named_files(files))
    assert changed_fields(then, then) == {}
    rows.write_text("ab")
    held.unlink()
    assert changed_fields(then, digests(named_files(files))) == {
        "prompts.source": "rows.jsonl has changed",
        "prompts.held_out": "held.jsonl is gone",
    }
    other = tmp_path / "other.jsonl"
    other.write_text("c")
    now = {"prompts.source": {**then["prompts.source"], str(other): "blake3:0"}}
    assert changed_fields({"prompts.source": then["prompts.source"]}, now) == {
        "prompts.source": "other.jsonl is new"
    }
