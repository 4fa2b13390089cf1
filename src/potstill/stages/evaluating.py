"""Evaluate: what the student kept, on held-out prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from potstill.evaluate.machine import parameter_count
from potstill.evaluate.measure import Measured, evaluate
from potstill.evaluate.text_only import evaluate_on_text
from potstill.job import Job
from potstill.models.loaded import LoadedModel
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.stages.calls import ReadCalls, scored_calls
from potstill.stages.inputs import held_out, held_out_answers
from potstill.stages.left_out import left_out
from potstill.stages.tasks import scored_task
from potstill.work.plan import PromptPlan


def evaluate_student(job: Job) -> dict[str, Any]:
    """Measure every student against the teacher; return the sections of evaluation.json."""
    directories = {"student": job.run.student, "untrained": job.untrained}
    baseline = job.run.root / "cross_entropy"
    if baseline.is_dir():
        directories["cross_entropy"] = baseline
    students = {name: job.load_student(path) for name, path in directories.items()}
    measured = (
        _against_teacher(job, students, directories)
        if job.open
        else _on_text(job, students, directories)
    )
    sections = {
        name: _plain(getattr(measured, name))
        for name in ("held_out", "models", "differences", "vocabulary", "samples")
    }
    sections["held_out"]["left_out"] = _left_out(job, measured)
    return {
        "task": scored_task(job, students["student"]),
        "tool_calls": scored_calls(job, students["student"], _reader(students["student"])),
        "sections": sections,
        "read": {name: list(lengths) for name, lengths in measured.read.items()},
        "student_params": parameter_count(students["student"].network),
    }


def _left_out(job: Job, measured: Measured) -> dict[str, int]:
    """Return how many held-out prompts the figures lack, by reason."""
    plan, given = (
        PromptPlan.from_record(job.run.done("prompts") or {}),
        job.recipe.collect.answers_given,
    )
    wanted = plan.held_out if given else plan.held_out[: job.recipe.evaluate.fidelity_prompts]
    greedy = None if given else False
    return left_out(job, "held_out", wanted, measured.prompt_ids, greedy=greedy)


def _reader(student: LoadedModel) -> ReadCalls:
    """Return what reads the calls in a student's answers."""
    return lambda ids: student.conversation.read(ids, tools=True).tool_calls


def _against_teacher(
    job: Job, students: dict[str, LoadedModel], directories: dict[str, Path]
) -> Measured:
    """Return the students against the teacher's distributions."""
    teacher = job.teacher
    shrunk = job.run.done("shrink") or {}
    if shrunk.get("blocks") is not None:
        students["pruned"], _ = pruned(teacher, Cut.from_record(shrunk))
        # Cut from fp32 weights, it is measured in the dtype that the other students are read in.
        students["pruned"].network.to(teacher.compute_dtype)
    return evaluate(
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


def _on_text(job: Job, students: dict[str, LoadedModel], directories: dict[str, Path]) -> Measured:
    """Return the students on the text of a teacher whose weights are not at hand."""
    return evaluate_on_text(
        students,
        {name: held_out_answers(job, student) for name, student in students.items()},
        config=job.recipe.evaluate,
        directories=directories,
        seed=job.recipe.seed,
        progress=job.progress,
    )


def _plain(value: Any) -> Any:
    """Return pydantic parts as JSON values, however they are nested."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
