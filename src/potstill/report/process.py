"""How the student came about: collection, cutting, training, and what all of it cost."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from potstill.report import charts, words
from potstill.report.headline import by_gold, scratch_ratio
from potstill.report.tables import Facts, clean, facts_of, table

COST_HEADS = ("Stage", "Operations", "Tokens", "Time", "Energy", "Money")
PARENT = "Training of the model that it began as, estimated"
STAGE_NAMES = {
    "collection": "Collection: the teacher answers",
    "shrink": "Shrink: cut and heal",
    "training": "Training",
    "evaluation": "Evaluation",
    "total": "This run, all of it",
}


def training(evaluation: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the loss curve, the validation curve and the facts of training."""
    facts = facts_of(
        words.at(evaluation, "training") or {},
        (
            ("steps", "Optimiser steps", words.whole),
            ("tokens", "Tokens read", words.count),
            ("seconds", "Time", words.duration),
            ("tokens_per_s", "Tokens a second", words.significant),
            ("first_loss", "First loss", words.significant),
            ("last_loss", "Last loss", words.significant),
            ("left_out", "Answers left out for want of likeliest tokens", words.whole),
        ),
    )
    facts += _kept(words.at(evaluation, "training") or {})
    found = []
    losses = charts.thin(curve(metrics, ("loss",)))
    if len(losses) > 1:
        smoothed = charts.smooth(losses, max(3, len(losses) // 12))
        found.append(
            _curve_chart("Training loss", "each step faint, running mean bold", smoothed, losses)
        )
    lacking = words.left_out(words.at(evaluation, "training.validation_left_out"))
    for names, title in (
        (("kl", "kl_per_token", "validation_kl"), "KL on validation prompts"),
        (("nll",), "Negative log-likelihood on validation prompts"),
    ):
        measured = charts.thin(curve(metrics, names), 120)
        if len(measured) > 1:
            note = "nats a token, prompts kept out of training"
            found.append(_curve_chart(title, note + words.in_brackets(lacking), measured))
    return {"facts": facts, "charts": found}


def _kept(section: Mapping[str, Any]) -> Facts:
    """Return which student was kept, and by what."""
    kept, steps = section.get("kept_step"), section.get("steps")
    if not words.known(kept):
        return []
    after = (
        "before training, step 0"
        if kept == 0
        else f"after step {words.whole(kept)} of {words.whole(steps)}"
    )
    by = {"kl": "KL", "nll": "negative log-likelihood"}.get(str(section.get("validated_by")))
    if by is None:
        return [("Student that is kept", f"{after}; nothing was measured to choose by")]
    facts = [("Student that is kept", f"{after}, the best on validation prompts")]
    for key, when in (("before", "before training"), ("kept", "as kept"), ("last", "at the end")):
        value = section.get(f"validation_{key}")
        if words.known(value):
            facts.append((f"Validation {by} a token, {when}", words.significant(value)))
    return facts


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
    collected = {"collection": "Collection: the right answers"} if by_gold(evaluation) else {}
    names = {**STAGE_NAMES, **collected}
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
        for key, name in names.items()
        if section.get(key)
    ]
    scratch = section.get("from_scratch")
    if scratch:
        cells = [words.scientific(scratch.get("flops")), words.count(scratch.get("tokens"))]
        cells += [words.NOTHING, words.NOTHING, words.money(scratch.get("money"), currency)]
        rows.append({"key": "scratch", "name": "From scratch, estimated", "cells": cells})
    parent = section.get("parent")
    if isinstance(parent, Mapping):
        cells = [words.scientific(parent.get("flops")), *[words.NOTHING] * 4]
        rows.append({"key": "scratch", "name": PARENT, "cells": cells})
    return {
        "table": table(COST_HEADS, rows),
        "chart": _cost_chart(section, names),
        "parent": clean(str(words.at(parent, "model") or "")),
        "formula": clean(str(words.at(scratch, "formula") or "")),
        "ratio": words.share_of(scratch_ratio(evaluation)),
        "here": _scratch_here(section),
        "energy": words.known(words.at(section, "total.joules")),
    }


def _scratch_here(section: Mapping[str, Any]) -> str | None:
    """Return how long pretraining would take at the speed that this run trained at."""
    flops, seconds = words.at(section, "training.flops"), words.at(section, "training.seconds")
    scratch = words.at(section, "from_scratch.flops")
    if not all(map(words.known, (flops, seconds, scratch))) or not flops or not seconds:
        return None
    return words.duration(scratch / (flops / seconds))


def _cost_chart(section: Mapping[str, Any], names: Mapping[str, str]) -> Markup | None:
    rows = []
    others = {"parent": PARENT, "from_scratch": "From scratch, estimated"}
    for key, name in {**names, **others}.items():
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
    facts = facts_of(
        words.at(evaluation, "collection") or {},
        (
            ("exchanges", "Exchanges", words.whole),
            ("response_tokens", "Response tokens", words.count),
            ("seconds", "Time", words.duration),
            ("tokens_per_s", "Tokens a second", words.significant),
            ("slots_busy_before_last_wave", "Slots busy before the last wave", words.percent),
            ("slots_busy", "Slots busy over all", words.percent),
            ("waves", "Waves", words.whole),
        ),
    )
    section = words.at(evaluation, "collection") or {}
    if words.known(section.get("money")):
        currency = str(words.at(evaluation, "cost.currency") or "USD")
        facts.append(("Paid to the server", words.money(section["money"], clean(currency))))
    facts += [
        (f"No answer: {clean(str(reason))}", words.whole(count))
        for reason, count in (section.get("failed") or {}).items()
    ]
    return facts + facts_of(
        words.at(evaluation, "overlap") or {},
        (
            ("held_out", "Held-out prompts", words.whole),
            ("train", "Training prompts", words.whole),
            ("exact", "Held-out prompts also in training", words.whole),
            ("near", "Near-duplicates left in training", words.whole),
            ("dropped_from_training", "Dropped as too alike", words.whole),
        ),
    )


def notes_of(evaluation: Mapping[str, Any], section: str) -> list[str]:
    """Return what a section's numbers do not say by themselves, a sentence each."""
    found = [str(note) for note in words.at(evaluation, f"{section}.notes") or ()]
    return [clean(note[:1].upper() + note[1:]) for note in found]


def collection_charts(evaluation: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return how long the answers were, and in which languages."""
    section = words.at(evaluation, "collection") or {}
    unit = clean(str(section.get("length_unit") or "tokens"))
    found = []
    for key, title, note in (
        ("lengths", "Length of the answers", f"{unit}, training prompts"),
        ("languages", "Languages of the answers", "as they are told apart by their letters"),
    ):
        rows = [(clean(str(name)), int(count)) for name, count in (section.get(key) or {}).items()]
        if rows and any(count for _, count in rows):
            said = ", ".join(f"{name}: {count}" for name, count in rows)
            svg = charts.bars(rows, title=f"{title}: {said}")
            found.append({"title": title, "note": note, "svg": svg})
    return found


def shrink(evaluation: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return how the student was cut, before and after healing; None where nothing was cut."""
    section = words.at(evaluation, "shrink")
    if not section:
        return None
    facts: Facts = []
    blocks = section.get("blocks") or []
    if blocks:
        facts.append(("Blocks dropped", ", ".join(map(words.whole, blocks))))
    vocabulary = words.at(evaluation, "vocabulary")
    if vocabulary:
        facts.append(
            (
                "Tokens kept",
                f"{words.whole(vocabulary.get('kept'))} of {words.whole(vocabulary.get('of'))}",
            )
        )
    for key, label in (
        ("ffn_channels", "Feed-forward channels kept in each block"),
        ("kv_heads", "Key-value heads kept in each block"),
    ):
        if section.get(key):
            facts.append((label, words.whole(section[key])))
    if section.get("heal"):
        facts.append(("Healing", clean(str(section["heal"]))))
    facts += facts_of(section, (("calibration_tokens", "Calibration tokens", words.count),))
    for field, count in (section.get("ids_dropped") or {}).items():
        facts.append((f"Entries of {clean(str(field))} without a token", words.whole(count)))
    rejected = section.get("rejected") or []
    if rejected:
        facts.append(("Candidates tried and rejected", f"{len(rejected):,}"))
    rows = [
        {
            "name": name,
            "cells": [
                words.nats(_plain(words.at(section, f"{key}.kl"))),
                words.percent(_plain(words.at(section, f"{key}.agreement"))),
            ],
        }
        for key, name in (("plain", "Cut only"), ("healed", "Cut and healed"))
        if section.get(key)
    ]
    return {"facts": facts, "table": table(("", "KL per token", "Top-1 agreement"), rows)}


def _plain(figure: Any) -> float | None:
    return words.value_of(figure) if isinstance(figure, Mapping) else figure
