"""A record's fields are told by path, with their types in words."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import pytest
from pydantic import BaseModel, Field

from potstill.work.field_docs import described_rows, field_kinds


class Inner(BaseModel):
    name: str = Field(description="A name.")


class Outer(BaseModel):
    form: Literal["a", "b"] = Field("a", alias="schema", description="Which.")
    when: datetime = Field(description="When.")
    one: Inner | None = Field(description="One.")
    many: tuple[Inner, ...] = Field(description="Many.")
    texts: tuple[str, ...] = Field(description="Texts.")
    rows: tuple[tuple[str | int | None, ...], ...] = Field(description="Rows.")
    named: dict[str, tuple[str, ...]] = Field(description="By name.")
    choices: tuple[Literal["x", "y"], ...] = Field(description="Choices.")


def test_every_type_is_said() -> None:
    assert [(path, kind) for path, kind, _ in field_kinds(Outer)] == [
        ("schema", "`a` or `b`"),
        ("when", "string (ISO 8601)"),
        ("one", "object or null"),
        ("one.name", "string"),
        ("many", "list of objects"),
        ("many[].name", "string"),
        ("texts", "list of strings"),
        ("rows", "list of list of string or integer or null"),
        ("named", "object of list of strings"),
        ("choices", "list of `x` or `y`"),
    ]
    assert described_rows(Inner) == "| `name` | string | A name. |\n"


def test_a_field_without_a_description_is_refused() -> None:
    class Bare(BaseModel):
        number: int

    with pytest.raises(KeyError, match="number"):
        described_rows(Bare)
