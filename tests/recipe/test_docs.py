"""The recipe's own documentation."""

from __future__ import annotations

from pathlib import Path

import potstill.recipe.docs as docs
from potstill.recipe.complaints import field_paths

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "recipe.md"


def test_every_field_has_one_row() -> None:
    rows = docs.rows()
    assert [row.path for row in rows] == field_paths()
    assert all(row.kind and row.description for row in rows)


def test_rows_state_type_bounds_and_default() -> None:
    rows = {row.path: row for row in docs.rows()}
    assert rows["train.learning_rate"].kind == "number > 0"
    assert rows["train.learning_rate"].default == "0.0001"
    assert rows["shrink.vocabulary"].kind == "whole number ≥ 256"
    assert rows["train.betas"].kind == "list of 2 numbers"
    assert rows["teacher.model"].default == "required"


def test_reference_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == docs.markdown(), "run: make docs"


def test_schema_forbids_unknown_keys() -> None:
    schema = docs.schema()
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["name", "teacher"]
    assert schema["$defs"]["TrainConfig"]["additionalProperties"] is False
