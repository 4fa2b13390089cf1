"""Evaluate: what the student kept, on held-out prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from potstill.evaluate.machine import parameter_count
from potstill.evaluate.measure import evaluate
from potstill.job import Job
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.stages.inputs import held_out


def evaluate_student(job: Job) -> dict[str, Any]:
    """Measure every student against the teacher; return the sections of evaluation.json."""
    teacher = job.teacher
    directories = {"student": job.run.student, "untrained": job.untrained}
    baseline = job.run.root / "cross_entropy"
    if baseline.is_dir():
        directories["cross_entropy"] = baseline
    students = {name: job.load_student(path) for name, path in directories.items()}
    shrunk = job.run.done("shrink") or {}
    if shrunk.get("blocks") is not None:
        students["pruned"], _ = pruned(teacher, Cut.from_record(shrunk))
        # Cut from fp32 weights, it is measured in the dtype that the other students are read in.
        students["pruned"].network.to(teacher.compute_dtype)
    measured = evaluate(
        teacher,
        students,
        held_out(job, students["student"], greedy=False),
        held_out(job, students["student"], greedy=True) if job.recipe.evaluate.greedy else [],
        vocabulary=job.vocabulary,
        config=job.recipe.evaluate,
        directories={**directories, "teacher": teacher.directory or Path()},
        seed=job.recipe.seed,
        progress=job.progress,
    )
    sections = {
        name: _plain(getattr(measured, name))
        for name in ("held_out", "models", "differences", "vocabulary", "samples")
    }
    return {
        "sections": sections,
        "read": {name: list(lengths) for name, lengths in measured.read.items()},
        "student_params": parameter_count(students["student"].network),
    }


def _plain(value: Any) -> Any:
    """Return pydantic parts as JSON values, however they are nested."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
