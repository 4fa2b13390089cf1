"""Small building blocks of the page: clean text, facts and tables."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from potstill.report import words

FactList = list[tuple[str, str]]


def clean(text: str) -> str:
    """Return text that any HTML parser takes: controls and lone surrogates become U+FFFD."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs")
        else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def cut(text: str, most: int) -> str:
    """Return a text's first characters, and how many more there are."""
    if len(text) <= most:
        return text
    return f"{text[:most]} … [{len(text) - most:,} more characters]"


def moment(text: str) -> str:
    """Return an ISO 8601 time in words, 25 November 2026, 10:20 UTC; other text as it is."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return clean(text)
    zone = "UTC" if when.utcoffset() == timedelta(0) else when.tzname() or ""
    return f"{when.day} {when:%B %Y, %H:%M} {zone}".strip()


@dataclass(frozen=True)
class Tile:
    """A figure that is shown large, what it is, and a note."""

    value: str
    label: str
    note: str


@dataclass(frozen=True)
class Cell:
    """One cell: a value, and below it what is said of its interval."""

    value: str
    span: str = ""


@dataclass(frozen=True)
class TableRow:
    """One row. `key` picks its colour: `student`, `teacher`, `total` and such stand out."""

    name: str
    cells: Sequence[Cell]
    key: str = "plain"


@dataclass(frozen=True)
class Table:
    """A table; the first head is that of the rows' names."""

    heads: Sequence[str]
    rows: Sequence[TableRow]


def row(name: str, *values: str, key: str = "plain") -> TableRow:
    """Return a row of cells that have no interval."""
    return TableRow(name, [Cell(value) for value in values], key)


def table(heads: Sequence[str], rows: Sequence[TableRow]) -> Table | None:
    """Return a table without the columns that nothing was measured in; None if it is empty."""
    if not rows:
        return None
    kept = [
        index
        for index in range(len(heads) - 1)
        if any(row.cells[index].value != words.NOTHING for row in rows)
    ]
    return Table(
        [heads[0], *(heads[index + 1] for index in kept)],
        [replace(row, cells=[row.cells[index] for index in kept]) for row in rows],
    )


def measured(*facts: tuple[str, str]) -> FactList:
    """Return those facts (label, value in words) that were measured."""
    return [fact for fact in facts if fact[1] != words.NOTHING]


def provenance(facts: Mapping[str, Any]) -> FactList:
    """Return where something came from, nested as one likes, as facts.

    {teacher: {licence: x}} gives `Teacher licence`. What is None or empty is left out.
    """
    return [(clean(label), clean(str(value))) for label, value in flatten(facts) if value != ""]


def flatten(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested facts as (label, value): {teacher: {licence: x}} gives `Teacher licence`."""
    found: list[tuple[str, Any]] = []
    for key, value in facts.items():
        label = f"{prefix} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            found += flatten(value, label)
        elif isinstance(value, list | tuple):
            found.append((capital(label), ", ".join(str(item) for item in value)))
        elif value is not None:
            found.append((capital(label), value))
    return found


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
