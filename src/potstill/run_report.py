"""The end of a run: evaluation.json, the page, the manifest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

from potstill.collect.prompts import shared_prompts
from potstill.curate.language import identified
from potstill.evaluate.evaluation import Collection, Curation, Evaluation, Training
from potstill.evaluate.machine import machine_facts, peak_memory_bytes
from potstill.evaluate.payback import payback, price_of
from potstill.job import Job
from potstill.lineage import manifest
from potstill.report.page import render
from potstill.run_costs import charged, cost_of, written_tokens
from potstill.shrink.cut import Cut
from potstill.work.plan import PromptPlan
from potstill.work.run_recipe import recipe_digest

_STAGES = ("collect", "curate", "shrink", "train", "evaluate")
# Texts whose language is told: enough to show which there are.
_MOST_TEXTS = 2000
# Texts whose language is told: enough to show which there are.
_MOST_TEXTS = 2000
# What training's record holds for the stages and the cost alone.
_NOT_SHOWN = ("left_out", "response_tokens", "lengths", "scored_again", "cross_entropy", "joules")


def write_report(job: Job) -> None:
    """Write evaluation.json, the page and, last, the manifest, from what the stages recorded."""
    done = {name: job.run.done(name) or {} for name in _STAGES}
    student = job.load_student(job.run.student)
    figures = done["collect"]["figures"]
    trained, task, cost = done["train"], done["evaluate"].get("task"), cost_of(job, student.network)
    evaluation = Evaluation(
        run=job.recipe.name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        answers="gold" if job.recipe.collect.gold else "teacher",
        machine=machine_facts(job.device, job.compute_dtype),
        **done["evaluate"]["sections"],
        overlap=_overlap(job, done["collect"]["overlap"]),
        collection=_collection(job, figures),
        shrink=_shrink_section(done["shrink"]),
        training={k: v for k, v in trained.items() if k in Training.model_fields}
        | {"cross_entropy_kept_step": (trained.get("cross_entropy") or {}).get("kept_step")}
        | {"left_out": trained.get("left_out") or None},
        cost=cost,
        curation={k: v for k, v in done["curate"].items() if k in Curation.model_fields} or None,
        task=task and task["scores"],
        tool_calls=done["evaluate"].get("tool_calls"),
        payback=_payback(task, cost["total"]["money"]),
        peak_memory_bytes=peak_memory_bytes(job.device),
        seconds=sum(done[name]["seconds"] for name in _STAGES),
    )
    job.run.write_json("evaluation.json", evaluation.as_json())
    render(job.run.root, _provenance(job))
    manifest.write(
        job.run,
        {
            "teacher": _teacher(job),
            "student": {"identity": student.identity},
            **_terms(job),
            "trust_remote_code": job.recipe.teacher.trust_remote_code,
        },
    )


def _collection(job: Job, figures: dict[str, Any]) -> dict[str, Any]:
    rows = job.store.read("train")
    tokens = [len(r.ids[1]) or r.usage.get("completion_tokens") for r in rows]
    counted = [count for count in tokens if count is not None]
    known = len(counted) == len(rows)
    sizes = counted if known else [len(row.answer) for row in rows]
    bins = Counter((max(size, 1) - 1).bit_length() for size in sizes)
    reading = (job.run.done("curate") or {}).get("reading") or {}
    notes = [*figures.get("notes", ()), *([reading["note"]] if reading else [])]
    written = written_tokens(job)
    if written is None:
        notes.append(_uncounted(job))
    return {
        **{k: v for k, v in figures.items() if k in Collection.model_fields},
        "response_tokens": written,
        "money": charged(job),
        "tokens_per_s": None if written is None else figures["tokens_per_s"] or None,
        "notes": notes,
        "lengths": {_bin(power): bins[power] for power in range(max(bins, default=-1) + 1)},
        "length_unit": "tokens" if known else "characters",
        "languages": _languages([row.response for row in rows if row.response or not row.calls]),
    }


def _uncounted(job: Job) -> str:
    """Say how many answers came without their number of tokens, and what their price is."""
    every = job.store.read()
    count = sum("completion_tokens" not in row.usage for row in every)
    at_most = "" if charged(job) is None else "; what they cost is put at its most"
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


def _overlap(job: Job, planned: dict[str, Any]) -> dict[str, Any]:
    """Return the overlap between training and held-out prompts, in the store itself.

    Rows that curation dropped count too: what is a template's is judged over all prompts.
    """
    train = [row.messages for row in job.store.read("train")]
    plan = PromptPlan.from_record(job.run.done("prompts") or {})
    held_out = {p.prompt_id: p.messages for p in plan.held_out}
    found = shared_prompts(train, list(held_out.values()), job.recipe.prompts.template).record()
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


def _teacher(job: Job) -> dict[str, Any]:
    """Return who answered. Where a server only read, the recipe's name is the server's model."""
    named = {} if job.recipe.reads_given else {"model": job.recipe.teacher.model}
    return {**named, "identity": job.teacher_identity}


def _terms(job: Job) -> dict[str, Any]:
    """Return the gate's decisions: about the answers, and about a server that only read them."""
    if not job.recipe.reads_given:
        return {"terms": job.decision.facts()}
    reader = {"model": job.recipe.teacher.model, "identity": job.scorer_identity}
    return {
        "terms": job.decision.facts(),
        "reader": {**reader, "terms": job.scorer_decision.facts()},
    }


def _provenance(job: Job) -> dict[str, Any]:
    who = {
        "teacher": {
            **_teacher(job),
            **({"tokenizer": job.teacher.tokenizer_id} if job.open else {}),
        }
    }
    return {
        # Right answers are nobody's: the name that the recipe gives them is no teacher's.
        **({"answers": "the right ones that the rows hold"} if job.recipe.collect.gold else who),
        **_terms(job),
        "recipe": {"digest": recipe_digest(job.recipe), "seed": job.recipe.seed},
    }
