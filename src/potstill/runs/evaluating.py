"""Evaluate: what the student kept, on held-out prompts."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

from potstill.evaluate.held_out import held_out, held_out_answers
from potstill.evaluate.measure import Measured, evaluate
from potstill.evaluate.text_only import evaluate_on_text
from potstill.runs.parts import Parts
from potstill.models.loaded import LoadedModel
from potstill.models.size import parameter_count
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.runs.calls import ReadCalls, scored_calls
from potstill.runs.tasks import scored_task
from potstill.work.left_out import left_out
from potstill.work.plan import PromptPlan


def evaluate_student(parts: Parts) -> dict[str, Any]:
    """Measure every student against the teacher; return the sections of evaluation.json."""
    directories = {"student": parts.run.student, "untrained": parts.untrained}
    baseline = parts.run.root / "cross_entropy"
    if baseline.is_dir():
        directories["cross_entropy"] = baseline
    students = {name: parts.opened.student(path) for name, path in directories.items()}
    measured = (
        _against_teacher(parts, students, directories)
        if parts.access.weights is not None
        else _on_text(parts, students, directories)
    )
    sections = {
        name: _plain(getattr(measured, name))
        for name in ("held_out", "models", "differences", "vocabulary", "samples")
    }
    sections["held_out"]["left_out"] = _left_out(parts, measured)
    return {
        "task": scored_task(parts, students["student"]),
        "tool_calls": scored_calls(parts, students["student"], _reader(students["student"])),
        "sections": sections,
        "read": {name: list(lengths) for name, lengths in measured.read.items()},
        "student_params": parameter_count(students["student"].network),
    }


def _left_out(parts: Parts, measured: Measured) -> dict[str, int]:
    """Return how many held-out prompts the figures lack, by reason."""
    plan, given = (
        PromptPlan.from_record(parts.run.done("prompts") or {}),
        parts.recipe.collect.answers_given,
    )
    wanted = plan.held_out if given else plan.held_out[: parts.recipe.evaluate.fidelity_prompts]
    greedy = None if given else False
    unasked = (parts.run.done("unasked") or {}).get("held_out", 0)
    return left_out(
        parts.store, "held_out", wanted, measured.prompt_ids, greedy=greedy, unasked=unasked
    )


def _reader(student: LoadedModel) -> ReadCalls:
    """Return what reads the calls in a student's answers."""
    return lambda ids: student.conversation.read(ids, tools=True).tool_calls


def _against_teacher(
    parts: Parts, students: dict[str, LoadedModel], directories: dict[str, Path]
) -> Measured:
    """Return the students against the teacher's distributions."""
    teacher = parts.opened.teacher
    shrunk = parts.run.done("shrink") or {}
    if shrunk.get("blocks") is not None:
        students["pruned"], _ = pruned(teacher, Cut.from_record(shrunk))
        # Cut from fp32 weights, it is measured in the dtype that the other students are read in.
        students["pruned"].network.to(teacher.compute_dtype)
    read = partial(held_out, parts.corpus, students["student"], parts.vocabulary, progress=parts.progress)
    return evaluate(
        teacher,
        students,
        read(greedy=False),
        read(greedy=True) if parts.recipe.evaluate.greedy else [],
        vocabulary=parts.vocabulary,
        config=parts.recipe.evaluate,
        directories={**directories, "teacher": teacher.directory or Path()},
        seed=parts.recipe.seed,
        progress=parts.progress,
    )


def _on_text(parts: Parts, students: dict[str, LoadedModel], directories: dict[str, Path]) -> Measured:
    """Return the students on the text of a teacher whose weights are not at hand."""
    return evaluate_on_text(
        students,
        {
            name: held_out_answers(parts.corpus, student, parts.vocabulary, progress=parts.progress)
            for name, student in students.items()
        },
        config=parts.recipe.evaluate,
        directories=directories,
        seed=parts.recipe.seed,
        progress=parts.progress,
    )


def _plain(value: Any) -> Any:
    """Return pydantic parts as JSON values, however they are nested."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json", by_alias=True)
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
