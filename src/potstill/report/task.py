"""How teacher and student do the job: scores, the word for it, slices, and what calls cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from potstill.report import charts, words
from potstill.report.headline import verdict
from potstill.report.tables import Facts, clean, table

HEADS = ("", "Right answers", "F1", "Readable", "Fits the schema")
SLICE_HEADS = ("Slice", "Rows", "Teacher", "Student", "Same answer")
SLICES = 30  # shown; the rest is in evaluation.json


def task(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the task's tables, chart and sentences; None where there is no task."""
    section = words.at(evaluation, "task")
    if not section:
        return None
    slices = section.get("slices") or []
    return {
        "verdict": verdict(evaluation),
        "table": table(HEADS, _rows(section)),
        "charts": [chart] if (chart := _chart(section)) else [],
        "slices": table(SLICE_HEADS, [_slice(one) for one in slices[:SLICES]]),
        "more_slices": max(0, len(slices) - SLICES),
        "worst": clean(str(section.get("worst_slice") or "")),
        "notes": [
            note
            for note in (_agreement(section), *map(_apart, slices), _payback(evaluation))
            if note
        ],
    }


def curation(evaluation: Mapping[str, Any]) -> Facts:
    """Return how many answers were learnt from, and why others were not."""
    section = words.at(evaluation, "curation")
    if not section:
        return []
    facts: Facts = [
        (
            "Training answers learnt from",
            f"{words.whole(section.get('train_kept'))} of {words.whole(section.get('train'))}",
        )
    ]
    for name, count in (section.get("dropped") or {}).items():
        if count:
            facts.append((f"Dropped: {clean(name.replace('_', ' '))}", words.whole(count)))
    names = {"validation": "validation", "held_out": "held-out"}
    for split, dropped in (section.get("elsewhere") or {}).items():
        for name, count in dropped.items():
            label = f"Left out of {names.get(split, clean(split))} answers"
            facts.append((f"{label}: {clean(name.replace('_', ' '))}", words.whole(count)))
    checked = section.get("verified")
    if checked:
        facts.append(
            (
                "Checked answers that were right",
                f"{words.whole(checked.get('correct'))} of {words.whole(checked.get('checked'))}",
            )
        )
    if section.get("judge"):
        facts.append(("Judge", clean(str(section["judge"]))))
    return facts


def _rows(section: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "key": key,
            "name": name,
            "cells": [_share(words.at(section, f"{key}.{field}")) for field in _FIELDS],
        }
        for key, name in (("teacher", "Teacher"), ("student", "Student"))
        if section.get(key)
    ]


_FIELDS = ("exact", "f1", "readable", "valid")


def _share(figure: Any) -> str:
    value = words.value_of(figure)
    if value is None:
        return words.NOTHING
    span = words.span(figure, words.percent) if words.bounds_of(figure) else ""
    return words.percent(value) + words.in_brackets(span or words.no_interval(figure))


def _slice(one: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": clean(str(one.get("name"))) + (", scored apart" if one.get("comparison") else ""),
        "cells": [
            words.whole(one.get("n")),
            *(_share(one.get(key)) for key in ("teacher", "student", "agreement")),
        ],
    }


def _chart(section: Mapping[str, Any]) -> dict[str, Any] | None:
    score = section.get("score")
    rows = []
    for key, name, kind in (("teacher", "Teacher", "plain"), ("student", "Student", "student")):
        figure = words.at(section, f"{key}.{score}")
        value = words.value_of(figure)
        if value is None:
            continue
        low, high = words.bounds_of(figure) or (None, None)
        rows.append(charts.Row(name, value, words.percent(value), low, high, kind))
    if not rows:
        return None
    lowest = min(row.value if row.low is None else row.low for row in rows)
    title = "Right answers" if score == "exact" else "F1 of words with the right answer"
    return {
        "title": title,
        "note": "share of held-out rows; more is better",
        "svg": charts.dots(
            rows,
            title=f"{title}: " + ", ".join(f"{row.label} {row.text}" for row in rows),
            ticks=charts.nice_ticks(lowest, 1.0, 5),
            spell=lambda tick: words.percent(tick, 0),
        ),
    }


def _agreement(section: Mapping[str, Any]) -> str | None:
    figure = section.get("agreement")
    if words.value_of(figure) is None:
        return None
    return f"Both gave the same answer in {_share(figure)} of the rows, right or wrong."


def _apart(one: Mapping[str, Any]) -> str | None:
    """Return what is said of a slice that is scored apart; None of others."""
    found = one.get("comparison")
    if not found:
        return None
    low, high = (f"{100 * end:+.1f}" for end in found["interval"])
    return (
        f"The {words.whole(one.get('n'))} rows of {clean(str(one.get('name')))} are unlike those "
        "that the student is for, and are scored apart: there the difference is "
        f"{100 * found['difference']:+.1f} points ({low} to {high}), {found['sentence']}."
    )


def _payback(evaluation: Mapping[str, Any]) -> str | None:
    section = words.at(evaluation, "payback")
    if not section:
        return None
    currency = words.at(evaluation, "cost.currency") or "USD"

    def money(key: str) -> str:
        return words.money(section.get(key), currency)

    text = (
        f"1,000 calls cost {money('teacher_per_1000_calls')} with the teacher and "
        f"{money('student_per_1000_calls')} with the student, as they were answered here."
    )
    calls = section.get("calls")
    if words.known(calls):
        return f"{text} Making the student cost {money('spent')}: it pays from {calls:,} calls on."
    return f"{text} At these prices the student never pays for what making it cost."
