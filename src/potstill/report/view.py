"""From evaluation.json and metrics.jsonl to what the page shows.

Pure functions: dictionaries in, small tables of text and charts out. Whatever is missing is
left out of the page or shown as not measured; nothing is invented.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from potstill.report import charts, words
from potstill.report.headline import caution, kl_over, sentences, share_of_teacher
from potstill.report.limits import limits

Facts = list[tuple[str, str]]
SAMPLE_CHARACTERS = 1_200  # of one response
PAGE_CHARACTERS = 60_000  # of all sample pairs
RECIPE_CHARACTERS = 20_000
STUDENTS = ("pruned", "untrained", "cross_entropy", "student")
STAGE_NAMES = {
    "collection": "Collection: the teacher answers",
    "shrink": "Shrink: cut and heal",
    "training": "Training",
    "evaluation": "Evaluation",
    "total": "This run, all of it",
}


def context(
    evaluation: Mapping[str, Any],
    metrics: Sequence[Mapping[str, Any]],
    recipe: str,
    provenance: Mapping[str, Any],
) -> dict[str, Any]:
    """Return everything the template needs."""
    return {
        "name": clean(str(evaluation.get("run") or "run")),
        "created": clean(str(evaluation.get("created_at") or "")),
        "headline": headline_parts(evaluation),
        "caution": caution(evaluation),
        "tiles": tiles(evaluation),
        "fidelity": fidelity(evaluation),
        "greedy": greedy_rows(evaluation),
        "speed": speed_rows(evaluation),
        "differences": differences(evaluation),
        "training": training(evaluation, metrics),
        "cost": cost(evaluation),
        "collection": collection(evaluation),
        "shrink": shrink(evaluation),
        "samples": samples(evaluation),
        "provenance": provenance_facts(evaluation, provenance),
        "packages": packages(evaluation),
        "recipe": clean(_cut(recipe, RECIPE_CHARACTERS)),
        "limits": limits(evaluation),
    }


def headline_parts(evaluation: Mapping[str, Any]) -> list[str]:
    """Return the headline's sentences without the caution, which has a box of its own."""
    warning = caution(evaluation)
    return [clean(sentence) for sentence in sentences(evaluation) if sentence != warning]


def clean(text: str) -> str:
    """Return text that any HTML parser takes: controls and lone surrogates become U+FFFD."""
    return "".join(
        character
        if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cs")
        else "\N{REPLACEMENT CHARACTER}"
        for character in text
    )


def model_name(key: str, evaluation: Mapping[str, Any]) -> str:
    """Return what a model of evaluation.json is called on the page."""
    cut = "pruned" in (evaluation.get("models") or {})
    names = {
        "teacher": "Teacher",
        "student": "Student",
        "pruned": "Cut only",
        "untrained": "Cut and healed, untrained" if cut else "Before training",
        "cross_entropy": "Trained on text alone",
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
                "note": f"95% interval {words.span(agreement, words.percent)}",
            }
        )
    found += _kl_tile(evaluation)
    ratio = words.at(evaluation, "cost.ratio_flops")
    if words.known(ratio):
        found.append(
            {
                "value": words.fraction(ratio),
                "label": "the arithmetic of training from scratch",
                "note": "estimated, 20 tokens a parameter",
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
        "rows": _fidelity_rows(
            evaluation, {key: models.get(key) for key in ("teacher", *STUDENTS)}
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


def greedy_rows(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the fidelity table on the teacher's greedy text; empty where not measured."""
    models = evaluation.get("models") or {}
    measured = {key: words.at(models, f"{key}.greedy") for key in STUDENTS}
    return _fidelity_rows(evaluation, measured)


def _fidelity_rows(
    evaluation: Mapping[str, Any], measured: Mapping[str, Any]
) -> list[dict[str, Any]]:
    columns = (
        ("kl_per_token", words.significant),
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
                    else "",
                }
                for column, spell in columns
            ],
        }
        for key, figures in measured.items()
        if figures
    ]


def _fidelity_chart(evaluation: Mapping[str, Any], column: str) -> dict[str, Any] | None:
    is_kl = column == "kl_per_token"
    spell = words.significant if is_kl else words.percent
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
    top = max(max(row.value, row.high or 0.0) for row in rows)
    ticks = charts.nice_ticks(0.0, top if is_kl else 1.0, 5)
    title = "KL divergence from the teacher" if is_kl else "Agreement on the likeliest token"
    return {
        "title": title,
        "note": "nats a token; 0 would be the teacher itself, less is better"
        if is_kl
        else "share of response positions; more is better",
        "svg": charts.dots(
            rows,
            title=f"{title}: " + ", ".join(f"{row.label} {row.text}" for row in rows),
            ticks=ticks,
            spell=(lambda tick: f"{tick:.10g}") if is_kl else (lambda tick: words.percent(tick, 0)),
        ),
    }


def speed_rows(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return size and speed, a row a model."""
    models = evaluation.get("models") or {}
    columns = (
        ("params", words.count),
        ("bytes", words.size),
        ("prefill_tok_s", words.significant),
        ("decode_tok_s", words.significant),
    )
    return [
        {
            "key": key,
            "name": model_name(key, evaluation),
            "cells": [spell(words.at(models[key], column)) for column, spell in columns],
        }
        for key in ("teacher", *reversed(STUDENTS))
        if models.get(key)
    ]


def differences(evaluation: Mapping[str, Any]) -> list[str]:
    """Return the paired comparisons as sentences."""
    texts = []
    for key, name in (("untrained", "the untrained student"), ("pruned", "plain cutting")):
        interval = words.at(evaluation, f"differences.student_minus_{key}_kl")
        value, bounds = words.value_of(interval), words.bounds_of(interval)
        if value is None or bounds is None:
            continue
        verdict = (
            "the student is closer to the teacher"
            if bounds[1] < 0
            else "the student is further from the teacher"
            if bounds[0] > 0
            else "no difference beyond chance"
        )
        texts.append(
            f"KL against {name}: {_signed(value)} nats a token "
            f"(95% interval {_signed(bounds[0])} to {_signed(bounds[1])}): {verdict}."
        )
    ratio = words.at(evaluation, "differences.student_over_pruned_kl")
    if words.value_of(ratio) is not None:
        texts.append(
            f"Ratio of the student's KL to that of plain cutting: "
            f"{words.significant(words.value_of(ratio))} (95% interval {words.span(ratio)})."
        )
    removed = words.at(evaluation, "vocabulary.teacher_mass_removed")
    if words.value_of(removed) is not None:
        texts.append(
            f"The trimmed vocabulary lacks {words.percent(words.value_of(removed), 2)} of the "
            "teacher's probability; each removed token's share goes to the first piece of its "
            "new spelling."
        )
    return texts


def training(evaluation: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the loss curve, the validation curve and the facts of training."""
    facts = _facts(
        words.at(evaluation, "training") or {},
        (
            ("steps", "Optimiser steps", lambda value: f"{value:,}"),
            ("tokens", "Tokens read", words.count),
            ("seconds", "Time", words.duration),
            ("tokens_per_s", "Tokens a second", words.significant),
            ("first_loss", "First loss", words.significant),
            ("last_loss", "Last loss", words.significant),
        ),
    )
    found = []
    losses = charts.thin(curve(metrics, ("loss",)))
    if len(losses) > 1:
        smoothed = charts.smooth(losses, max(3, len(losses) // 12))
        found.append(
            _curve_chart("Training loss", "each step faint, running mean bold", smoothed, losses)
        )
    measured = charts.thin(curve(metrics, ("kl", "kl_per_token", "validation_kl")), 120)
    if len(measured) > 1:
        found.append(
            _curve_chart(
                "KL on validation prompts", "nats a token, prompts kept out of training", measured
            )
        )
    return {"facts": facts, "charts": found}


def curve(metrics: Iterable[Mapping[str, Any]], names: Sequence[str]) -> list[charts.Point]:
    """Return (step, value) of the first of `names` that each record holds, by step.

    A step that was done twice, after a resume, counts as it was done last. Records of another
    student (`student: cross_entropy`) and values that are not finite are skipped.
    """
    found: dict[float, float] = {}
    for record in metrics:
        if record.get("student", "student") != "student" or not words.known(record.get("step")):
            continue
        value = next((record[name] for name in names if words.known(record.get(name))), None)
        if value is not None:
            found[float(record["step"])] = float(value)
    return sorted(found.items())


def _curve_chart(
    title: str,
    note: str,
    points: Sequence[charts.Point],
    faint: Sequence[charts.Point] = (),
) -> dict[str, Any]:
    first, last = points[0], points[-1]
    return {
        "title": title,
        "note": note,
        "svg": charts.lines(
            points,
            title=f"{title}: {words.significant(first[1])} at step {first[0]:.0f}, "
            f"{words.significant(last[1])} at step {last[0]:.0f}",
            x_label="optimiser step",
            spell=lambda value: f"{value:.4g}",
            faint=faint,
            markers=not faint,
        ),
    }


def cost(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return the cost table, its chart and the from-scratch estimate in words."""
    section = words.at(evaluation, "cost") or {}
    currency = clean(str(section.get("currency") or "USD"))
    rows = [
        {
            "key": key,
            "name": name,
            "cells": [
                words.scientific(words.at(section[key], "flops")),
                words.count(words.at(section[key], "tokens")),
                words.duration(words.at(section[key], "seconds")),
                words.energy(words.at(section[key], "joules")),
                words.money(words.at(section[key], "money"), currency),
            ],
        }
        for key, name in STAGE_NAMES.items()
        if section.get(key)
    ]
    scratch = section.get("from_scratch")
    if scratch:
        cells = [words.scientific(scratch.get("flops")), words.count(scratch.get("tokens"))]
        cells += [words.NOTHING, words.NOTHING, words.money(scratch.get("money"), currency)]
        rows.append({"key": "scratch", "name": "From scratch, estimated", "cells": cells})
    return {
        "rows": rows,
        "chart": _cost_chart(section),
        "formula": clean(str(words.at(scratch, "formula") or "")),
        "ratio": words.fraction(section.get("ratio_flops")),
        "energy": words.known(words.at(section, "total.joules")),
    }


def _cost_chart(section: Mapping[str, Any]) -> Markup | None:
    rows = []
    for key, name in {**STAGE_NAMES, "from_scratch": "From scratch, estimated"}.items():
        flops = words.at(section, f"{key}.flops")
        if words.known(flops) and flops > 0:
            kind = "student" if key == "total" else "plain"
            rows.append(charts.Row(name, flops, words.scientific(flops), kind=kind))
    if len(rows) < 2:
        return None
    values = [row.value for row in rows]
    return charts.dots(
        rows,
        title="Arithmetic, logarithmic: " + ", ".join(f"{row.label} {row.text}" for row in rows),
        ticks=charts.log_ticks(min(values), max(values), 5),
        spell=lambda value: words.power_of_ten(round(math.log10(value))),
        log=True,
    )


def collection(evaluation: Mapping[str, Any]) -> Facts:
    """Return the facts of collection and of the held-out split."""
    facts = _facts(
        words.at(evaluation, "collection") or {},
        (
            ("exchanges", "Exchanges", lambda value: f"{value:,}"),
            ("response_tokens", "Response tokens", words.count),
            ("seconds", "Time", words.duration),
            ("tokens_per_s", "Tokens a second", words.significant),
            ("slots_busy_before_last_wave", "Slots busy before the last wave", words.percent),
            ("slots_busy", "Slots busy over all", words.percent),
            ("waves", "Waves", lambda value: f"{value:,}"),
        ),
    )
    return facts + _facts(
        words.at(evaluation, "overlap") or {},
        (
            ("held_out", "Held-out prompts", lambda value: f"{value:,}"),
            ("train", "Training prompts", lambda value: f"{value:,}"),
            ("exact", "Held-out prompts also in training", lambda value: f"{value:,}"),
            ("near", "Near-duplicates left in training", lambda value: f"{value:,}"),
            ("dropped_from_training", "Dropped as too alike", lambda value: f"{value:,}"),
        ),
    )


def shrink(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how the student was cut, before and after healing; None where nothing was cut."""
    section = words.at(evaluation, "shrink")
    if not section:
        return None
    facts: Facts = []
    blocks = section.get("blocks") or []
    if blocks:
        facts.append(("Blocks dropped", ", ".join(str(block) for block in blocks)))
    vocabulary = words.at(evaluation, "vocabulary")
    if vocabulary:
        facts.append(
            ("Tokens kept", f"{words.at(vocabulary, 'kept'):,} of {words.at(vocabulary, 'of'):,}")
        )
    if section.get("heal"):
        facts.append(("Healing", clean(str(section["heal"]))))
    facts += _facts(section, (("calibration_tokens", "Calibration tokens", words.count),))
    rejected = section.get("rejected") or []
    if rejected:
        facts.append(("Candidates tried and rejected", f"{len(rejected):,}"))
    rows = [
        {
            "name": name,
            "cells": [
                words.significant(_plain(words.at(section, f"{key}.kl"))),
                words.percent(_plain(words.at(section, f"{key}.agreement"))),
            ],
        }
        for key, name in (("plain", "Cut only"), ("healed", "Cut and healed"))
        if section.get(key)
    ]
    return {"facts": facts, "rows": rows}


def samples(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return sample pairs {turns, teacher, student} as clean text, within the page's budget."""
    pairs: list[dict[str, Any]] = []
    spent = 0
    everything = evaluation.get("samples") or []
    for sample in everything:
        turns = [
            (clean(str(message.get("role", ""))), _response(message.get("content")))
            for message in sample.get("messages") or []
        ]
        pair = {
            "turns": turns,
            "teacher": _response(sample.get("teacher")),
            "student": _response(sample.get("student")),
        }
        spent += len(pair["teacher"]) + len(pair["student"]) + sum(len(text) for _, text in turns)
        if spent > PAGE_CHARACTERS:
            break
        pairs.append(pair)
    return {"pairs": pairs, "left_out": len(everything) - len(pairs)}


def provenance_facts(evaluation: Mapping[str, Any], provenance: Mapping[str, Any]) -> Facts:
    """Return where everything came from: the caller's facts, then the machine's."""
    facts = [
        (clean(label), clean(str(value))) for label, value in flatten(provenance) if value != ""
    ]
    machine = words.at(evaluation, "machine") or {}
    if machine.get("cpu"):
        cores = f", {machine['cores']} cores" if machine.get("cores") else ""
        facts.append(("Processor", clean(f"{machine['cpu']}{cores}")))
    if words.known(machine.get("memory_gb")):
        facts.append(("Memory", f"{words.significant(machine['memory_gb'])} GB"))
    facts.append(("Accelerator", clean(str(machine.get("accelerator") or "none"))))
    if machine.get("compute_dtype"):
        facts.append(("Precision of products", clean(str(machine["compute_dtype"]))))
    peak = words.at(evaluation, "peak_memory_bytes")
    if words.known(peak):
        facts.append(("Peak memory", words.size(peak)))
    if evaluation.get("schema"):
        facts.append(("Schema", clean(str(evaluation["schema"]))))
    return facts


def flatten(facts: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return nested facts as (label, value): {teacher: {licence: x}} gives `Teacher licence`."""
    found: list[tuple[str, Any]] = []
    for key, value in facts.items():
        label = f"{prefix} {key}".strip().replace("_", " ")
        if isinstance(value, Mapping):
            found += flatten(value, label)
        elif isinstance(value, list | tuple):
            found.append((_capital(label), ", ".join(str(item) for item in value)))
        elif value is not None:
            found.append((_capital(label), value))
    return found


def packages(evaluation: Mapping[str, Any]) -> Facts:
    """Return (package, version), sorted."""
    versions = words.at(evaluation, "machine.packages") or {}
    return sorted((clean(str(name)), clean(str(version))) for name, version in versions.items())


def _facts(section: Mapping[str, Any], columns: Iterable[tuple[str, str, Any]]) -> Facts:
    return [
        (label, spell(section[key]))
        for key, label, spell in columns
        if words.known(section.get(key))
    ]


def _plain(figure: Any) -> float | None:
    return words.value_of(figure) if isinstance(figure, Mapping) else figure


def _signed(value: float) -> str:
    return f"{'+' if value > 0 else '−' if value < 0 else ''}{words.significant(abs(value))}"


def _response(text: Any) -> str:
    return clean(_cut(str(text or ""), SAMPLE_CHARACTERS))


def _cut(text: str, most: int) -> str:
    if len(text) <= most:
        return text
    return f"{text[:most]} … [{len(text) - most:,} more characters]"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
