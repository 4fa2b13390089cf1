"""How close the students are to the teacher: tiles, tables, charts and comparisons."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from potstill.report import charts, words
from potstill.report.headline import kl_over, scratch_ratio, share_of_teacher, signed
from potstill.report.tables import clean, table

FIDELITY_HEADS = ("Model", "KL per token", "Top-1 agreement", "Perplexity", "Bits per byte")
SPEED_HEADS = ("Model", "Parameters", "On disk", "Reading, tokens/s", "Writing, tokens/s")
STUDENTS = ("pruned", "untrained", "cross_entropy", "student")


def model_name(key: str, evaluation: Mapping[str, Any]) -> str:
    """Return what a model of evaluation.json is called on the page."""
    cut = "pruned" in (evaluation.get("models") or {})
    healed = words.at(evaluation, "shrink.heal") != "none"
    text_step = words.at(evaluation, "training.cross_entropy_kept_step")
    names = {
        "teacher": "Teacher",
        "student": "Student",
        "pruned": "Cut only",
        "untrained": ("Cut and healed, untrained" if healed else "Cut, untrained")
        if cut
        else "Before training",
        "cross_entropy": "Trained on text alone"
        + (", no better: as before" if text_step == 0 else ""),
    }
    return names.get(key, clean(key))


def tiles(evaluation: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return the headline figures: {value, label, note}."""
    found: list[dict[str, str]] = []
    share = share_of_teacher(evaluation)
    if share is not None:
        student = words.count(words.at(evaluation, "models.student.params"))
        found.append(
            {
                "value": words.percent(share),
                "label": "of the teacher's parameters",
                "note": f"{student} in the student",
            }
        )
    agreement = words.at(evaluation, "models.student.top1_agreement")
    if words.value_of(agreement) is not None:
        found.append(
            {
                "value": words.percent(words.value_of(agreement)),
                "label": "same likeliest token as the teacher",
                "note": words.interval(agreement, words.percent),
            }
        )
    found += _kl_tile(evaluation)
    ratio = scratch_ratio(evaluation)
    if ratio is not None:
        parent = words.at(evaluation, "cost.parent")
        found.append(
            {
                "value": words.fraction(ratio),
                "label": ("of " if ratio < 0.1 else "times ")
                + "the arithmetic of training from scratch",
                "note": "estimated, 20 tokens a parameter"
                + (", with the training of the model that it began as" if parent else ""),
            }
        )
    return found


def _kl_tile(evaluation: Mapping[str, Any]) -> list[dict[str, str]]:
    for baseline, words_for_it in (("pruned", "plain cutting"), ("untrained", "before training")):
        ratio = kl_over(evaluation, baseline)
        if ratio is not None:
            kl = words.value_of(words.at(evaluation, "models.student.kl_per_token"))
            return [
                {
                    "value": f"{ratio:.2f} ×",
                    "label": f"the distance to the teacher that {words_for_it} leaves"
                    if baseline == "pruned"
                    else "its distance to the teacher before training",
                    "note": f"{words.significant(kl)} nats of KL a token",
                }
            ]
    return []


def fidelity(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fidelity table and its two charts."""
    models = evaluation.get("models") or {}
    return {
        "table": table(
            FIDELITY_HEADS,
            _fidelity_rows(evaluation, {key: models.get(key) for key in ("teacher", *STUDENTS)}),
        ),
        "charts": [
            chart
            for chart in (
                _fidelity_chart(evaluation, "kl_per_token"),
                _fidelity_chart(evaluation, "top1_agreement"),
            )
            if chart is not None
        ],
    }


def greedy(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the fidelity table on the teacher's greedy text; None where not measured."""
    models = evaluation.get("models") or {}
    measured = {key: words.at(models, f"{key}.greedy") for key in STUDENTS}
    return table(FIDELITY_HEADS, _fidelity_rows(evaluation, measured))


def _fidelity_rows(
    evaluation: Mapping[str, Any], measured: Mapping[str, Any]
) -> list[dict[str, Any]]:
    columns = (
        ("kl_per_token", words.nats),
        ("top1_agreement", words.percent),
        ("perplexity", words.significant),
        ("bits_per_byte", words.significant),
    )
    return [
        {
            "key": key,
            "name": model_name(key, evaluation),
            "cells": [
                {
                    "value": spell(words.value_of(words.at(figures, column))),
                    "span": words.span(words.at(figures, column), spell)
                    if words.bounds_of(words.at(figures, column))
                    else words.no_interval(words.at(figures, column)),
                }
                for column, spell in columns
            ],
        }
        for key, figures in measured.items()
        if figures
    ]


def _fidelity_chart(evaluation: Mapping[str, Any], column: str) -> dict[str, Any] | None:
    is_kl = column == "kl_per_token"
    spell = words.nats if is_kl else words.percent
    rows = []
    for key in STUDENTS:
        interval = words.at(evaluation, f"models.{key}.{column}")
        value, bounds = words.value_of(interval), words.bounds_of(interval)
        if value is None:
            continue
        low, high = bounds or (None, None)
        kind = "student" if key == "student" else "plain"
        rows.append(charts.Row(model_name(key, evaluation), value, spell(value), low, high, kind))
    if not rows:
        return None
    lowest = min(row.value if row.low is None else row.low for row in rows)
    highest = max(row.value if row.high is None else row.high for row in rows)
    # Both axes reach to the teacher itself: KL 0, agreement 1.
    ticks = charts.nice_ticks(0.0, highest, 5) if is_kl else charts.nice_ticks(lowest, 1.0, 5)
    title = "KL divergence from the teacher" if is_kl else "Agreement on the likeliest token"
    return {
        "title": title,
        "note": "nats a token; 0 is the teacher itself, less is better"
        if is_kl
        else "share of response positions; more is better",
        "svg": charts.dots(
            rows,
            title=f"{title}: " + ", ".join(f"{row.label} {row.text}" for row in rows),
            ticks=ticks,
            spell=(lambda tick: f"{tick:.10g}") if is_kl else (lambda tick: words.percent(tick, 0)),
        ),
    }


def speed(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return size and speed, a row a model."""
    models = evaluation.get("models") or {}
    columns = (
        ("params", words.count),
        ("bytes", words.size),
        ("prefill_tok_s", words.significant),
        ("decode_tok_s", words.significant),
    )
    rows = [
        {
            "key": key,
            "name": model_name(key, evaluation),
            "cells": [spell(words.at(models[key], column)) for column, spell in columns],
        }
        for key in ("teacher", *STUDENTS)
        if models.get(key)
    ]
    return table(SPEED_HEADS, rows)


def differences(evaluation: Mapping[str, Any]) -> list[str]:
    """Return the paired comparisons as sentences."""
    if words.at(evaluation, "training.kept_step") == 0:
        same = ["The student is the untrained one: training did not make it better."]
    else:
        same = []
    texts = [*same]
    for key, name in (("untrained", "the untrained student"), ("pruned", "plain cutting")):
        interval = words.at(evaluation, f"differences.student_minus_{key}_kl")
        value, bounds = words.value_of(interval), words.bounds_of(interval)
        if value is None or (same and key == "untrained"):
            continue
        verdict = (
            "no difference that these prompts show"
            if bounds is None
            else "the student is closer to the teacher"
            if bounds[1] < 0
            else "the student is further from the teacher"
            if bounds[0] > 0
            else "no difference beyond chance"
        )
        texts.append(
            f"KL against {name}: {signed(value)} nats a token"
            f"{words.in_brackets(words.interval(interval, signed))}: {verdict}."
        )
    ratio = words.at(evaluation, "differences.student_over_pruned_kl")
    if words.value_of(ratio) is not None:
        texts.append(
            f"Ratio of the student's KL to that of plain cutting: "
            f"{words.significant(words.value_of(ratio))}"
            f"{words.in_brackets(words.interval(ratio))}."
        )
    removed = words.at(evaluation, "vocabulary.teacher_mass_removed")
    if words.value_of(removed) is not None:
        texts.append(
            f"The trimmed vocabulary lacks {words.percent(words.value_of(removed), 2)} of the "
            "teacher's probability; each removed token's share goes to the first piece of its "
            "new spelling."
        )
    return texts
