"""How often the student calls the tools that the teacher calls."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from potstill.report import words
from potstill.report.tables import table

HEADS = ("Held-out prompts that the teacher answered with calls", "Prompts", "Share")
_OUTCOMES = (
    ("right", "The same calls"),
    ("other_arguments", "The same functions with other arguments"),
    ("other_name", "Another function, or another number of calls"),
    ("no_call", "No call"),
)


def tool_calls(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the table of what the student did, and sentences; None where nothing was called."""
    section = words.at(evaluation, "tool_calls")
    if not isinstance(section, Mapping):
        return None
    outcomes, prompts = section.get("outcomes"), section.get("prompts")
    counts = outcomes if isinstance(outcomes, Mapping) else {}
    rows = [
        {
            "key": "student" if key == "right" else "plain",
            "name": name,
            "cells": [words.whole(counts.get(key)), _share(counts.get(key), prompts)],
        }
        for key, name in _OUTCOMES
    ]
    return {"lead": _lead(section), "table": table(HEADS, rows), "text": _text(section)}


def _lead(section: Mapping[str, Any]) -> str:
    return (
        f"The student's greedy answer holds the teacher's calls on {_figure(section.get('right'))} "
        "of these prompts: the same functions, with arguments that are equal as JSON."
        + _left_out(section)
    )


def _left_out(section: Mapping[str, Any]) -> str:
    count = section.get("left_out")
    if not words.known(count) or not count:
        return ""
    return f" {words.left_out({'too_long': count})}.".replace("more left out", "more are left out")


def _text(section: Mapping[str, Any]) -> str | None:
    kept, prompts = section.get("text_kept"), section.get("text_prompts")
    if words.value_of(kept) is None:
        return None
    return (
        f"Of {words.whole(prompts)} prompts with tools on offer that the teacher answered in text "
        f"alone, the student called nothing on {_figure(kept)}."
    )


def _share(count: Any, of: Any) -> str:
    return words.percent(count / of) if words.known(count) and words.known(of) and of else "–"


def _figure(figure: Any) -> str:
    value = words.value_of(figure)
    if value is None:
        return words.NOTHING
    span = words.span(figure, words.percent) if words.bounds_of(figure) else ""
    return words.percent(value) + words.in_brackets(span or words.no_interval(figure))
