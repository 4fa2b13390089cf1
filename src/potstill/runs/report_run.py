"""The end of a run: evaluation.json, the page, the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

from potstill.collect.prompts import shared_prompts
from potstill.evaluate.payback import payback, price_of
from potstill.lineage import manifest
from potstill.machine import machine_facts, peak_memory_bytes
from potstill.report.run.page import render
from potstill.runs.cost import charged, cost_of, written_tokens
from potstill.runs.parts import Parts
from potstill.shrink.cut import Cut
from potstill.text.language import identified
from potstill.work.evaluation import (
    CollectionFigures,
    CurationFigures,
    Evaluation,
    TrainingFigures,
)
from potstill.work.plan import PromptPlan
from potstill.work.run_recipe import recipe_digest

_STAGES = ("collect", "curate", "shrink", "train", "evaluate")
# Texts whose language is told: enough to show which there are.
_MOST_TEXTS = 2000
# Texts whose language is told: enough to show which there are.
_MOST_TEXTS = 2000
# What training's record holds for the stages and the cost alone.
_NOT_SHOWN = ("left_out", "response_tokens", "lengths", "scored_again", "cross_entropy", "joules")


def write_report(parts: Parts) -> None:
    """Write evaluation.json, the page and, last, the manifest, from what the stages recorded."""
    done = {name: parts.run.done(name) or {} for name in _STAGES}
    student = parts.opened.student(parts.run.student)
    figures = done["collect"]["figures"]
    trained, task, cost = done["train"], done["evaluate"].get("task"), cost_of(parts, student.network)
    evaluation = Evaluation(
        run=parts.recipe.name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        answers="gold" if parts.recipe.collect.gold else "teacher",
        machine=machine_facts(parts.compute.device, parts.compute.dtype),
        **done["evaluate"]["sections"],
        overlap=_overlap(parts, done["collect"]["overlap"]),
        collection=_collection(parts, figures),
        shrink=_shrink_section(done["shrink"]),
        training={k: v for k, v in trained.items() if k in TrainingFigures.model_fields}
        | {"cross_entropy_kept_step": (trained.get("cross_entropy") or {}).get("kept_step")}
        | {"left_out": trained.get("left_out") or None},
        cost=cost,
        curation={k: v for k, v in done["curate"].items() if k in CurationFigures.model_fields}
        or None,
        task=task and task["scores"],
        tool_calls=done["evaluate"].get("tool_calls"),
        payback=_payback(task, cost["total"]["money"]),
        peak_memory_bytes=peak_memory_bytes(parts.compute.device),
        seconds=sum(done[name]["seconds"] for name in _STAGES),
    )
    parts.run.write_json("evaluation.json", evaluation.as_json())
    render(parts.run.root, _provenance(parts))
    manifest.write(
        parts.run,
        {
            "teacher": _teacher(parts),
            "student": {"identity": student.identity},
            **_terms(parts),
            "trust_remote_code": parts.recipe.teacher.trust_remote_code,
        },
    )


def _collection(parts: Parts, figures: dict[str, Any]) -> dict[str, Any]:
    rows = parts.store.read("train")
    tokens = [len(r.ids[1]) or r.usage.get("completion_tokens") for r in rows]
    counted = [count for count in tokens if count is not None]
    known = len(counted) == len(rows)
    sizes = counted if known else [len(row.answer) for row in rows]
    bins = Counter((max(size, 1) - 1).bit_length() for size in sizes)
    reading = (parts.run.done("curate") or {}).get("reading") or {}
    notes = [*figures.get("notes", ()), *([reading["note"]] if reading else [])]
    written = written_tokens(parts)
    if written is None:
        notes.append(_uncounted(parts))
    return {
        **{k: v for k, v in figures.items() if k in CollectionFigures.model_fields},
        "response_tokens": written,
        "money": charged(parts),
        "tokens_per_s": None if written is None else figures["tokens_per_s"] or None,
        "notes": notes,
        "lengths": {_bin(power): bins[power] for power in range(max(bins, default=-1) + 1)},
        "length_unit": "tokens" if known else "characters",
        "languages": _languages([row.response for row in rows if row.response or not row.calls]),
    }


def _uncounted(parts: Parts) -> str:
    """Say how many answers came without their number of tokens, and what their price is."""
    every = parts.store.read()
    count = sum("completion_tokens" not in row.usage for row in every)
    at_most = "" if charged(parts) is None else "; what they cost is put at its most"
    return f"{count} of {len(every)} answers came without their number of tokens{at_most}"


def _bin(power: int) -> str:
    """Return the name of the sizes up to a power of two, from above the one before."""
    low, high = (2 ** (power - 1) + 1, 2**power) if power else (0, 1)
    return str(high) if low == high else f"{low}-{high}"


def _languages(texts: Sequence[str]) -> dict[str, int]:
    """Return how many texts are in each language, where what tells them apart is installed."""
    if find_spec("py3langid") is None:
        return {}
    found = (identified(text) for text in texts[:_MOST_TEXTS])
    named = Counter("unknown" if one is None else one.language for one in found)
    return dict(named.most_common(12))


def _payback(task: dict[str, Any] | None, spent: float | None) -> dict[str, Any] | None:
    """Return what calls cost, where what the teacher's cost is known."""
    if task is None or spent is None or "teacher" not in task["prices"]:
        return None
    teacher, student = (price_of(task["prices"][name]) for name in ("teacher", "student"))
    return payback(teacher, student, spent=spent).record()


def _overlap(parts: Parts, planned: dict[str, Any]) -> dict[str, Any]:
    """Return the overlap between training and held-out prompts, in the store itself.

    Rows that curation dropped count too: what is a template's is judged over all prompts.
    """
    train = [row.messages for row in parts.store.read("train")]
    plan = PromptPlan.from_record(parts.run.done("prompts") or {})
    held_out = {p.prompt_id: p.messages for p in plan.held_out}
    found = shared_prompts(train, list(held_out.values()), parts.recipe.prompts.template).record()
    return {**found, "dropped_from_training": planned["dropped_from_training"]}


def _shrink_section(done: dict[str, Any]) -> dict[str, Any] | None:
    if done.get("blocks") is None:
        return None
    keys = ("blocks", "calibration_tokens", "plain")
    refitted = bool(done.get("refitted"))
    widths = Cut.from_record(done).widths
    return {
        **{k: done[k] for k in keys},
        "heal": done["heal"] if refitted else "none",
        "healed": done["healed"] if refitted else None,
        "rejected": [
            {k: v for k, v in trial.items() if k != "taken"}
            for trial in done["trials"]
            if not trial["taken"]
        ],
        "ids_dropped": done.get("ids_dropped") or {},
        "ffn_channels": widths.get("ffn_channels"),
        "kv_heads": widths.get("kv_heads"),
    }


def _teacher(parts: Parts) -> dict[str, Any]:
    """Return who answered. Where a server only read, the recipe's name is the server's model."""
    named = {} if parts.recipe.reads_given else {"model": parts.recipe.teacher.model}
    return {**named, "identity": parts.author_identity}


def _terms(parts: Parts) -> dict[str, Any]:
    """Return the gate's decisions: about the answers, and about a server that only read them."""
    if not parts.recipe.reads_given:
        return {"terms": parts.decision.facts()}
    reader = {"model": parts.recipe.teacher.model, "identity": parts.corpus.scorer_identity}
    return {
        "terms": parts.decision.facts(),
        "reader": {**reader, "terms": parts.scorer_decision.facts()},
    }


def _provenance(parts: Parts) -> dict[str, Any]:
    who = {
        "teacher": {
            **_teacher(parts),
            **(
                {"tokenizer": parts.opened.teacher.tokenizer_id}
                if parts.access.weights is not None
                else {}
            ),
        }
    }
    return {
        # Right answers are nobody's: the name that the recipe gives them is no teacher's.
        **({"answers": "the right ones that the rows hold"} if parts.recipe.collect.gold else who),
        **_terms(parts),
        "recipe": {"digest": recipe_digest(parts.recipe), "seed": parts.recipe.seed},
    }
