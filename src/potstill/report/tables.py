"""Small building blocks of the page: clean text, facts and tables."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from potstill.report import words

Facts = list[tuple[str, str]]


def clean(text: str) -> str:
    """Return text that any HTML parser takes: controls and lone surrogates become U+FFFD."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs")
        else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def moment(text: str) -> str:
    """Return an ISO 8601 time in words, 25 November 2026, 10:20 UTC; other text as it is."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return clean(text)
    zone = "UTC" if when.utcoffset() == timedelta(0) else when.tzname() or ""
    return f"{when.day} {when:%B %Y, %H:%M} {zone}".strip()


def table(heads: Sequence[str], rows: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Return {heads, rows} without the columns that nothing was measured in; None if empty."""
    if not rows:
        return None
    kept = [
        index
        for index in range(len(heads) - 1)
        if any(shown(row["cells"][index]) != words.NOTHING for row in rows)
    ]
    return {
        "heads": [heads[0], *(heads[index + 1] for index in kept)],
        "rows": [{**row, "cells": [row["cells"][index] for index in kept]} for row in rows],
    }


def facts_of(section: Mapping[str, Any], columns: Iterable[tuple[str, str, Any]]) -> Facts:
    return [
        (label, spell(section[key]))
        for key, label, spell in columns
        if words.known(section.get(key))
    ]


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


def shown(cell: Any) -> Any:
    return cell["value"] if isinstance(cell, Mapping) else cell


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]
