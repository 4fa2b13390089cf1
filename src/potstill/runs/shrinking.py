"""Shrink: the student before training, by what the run has open."""

from __future__ import annotations

from functools import partial

from potstill.evaluate.validation import validation
from potstill.runs.parts import Parts
from potstill.shrink.stage import StudentFiles, cut_student, take_student
from potstill.work.stage_records import ShrinkRecord


def make_student(parts: Parts) -> ShrinkRecord:
    """Save the student before training, cut from the teacher or given; return how."""
    recipe, access = parts.recipe, parts.access
    files = StudentFiles(parts.untrained, parts.vocabulary_path)
    if access.student is not None and not recipe.cuts:
        return take_student(
            access.student,
            parts.compute,
            None if access.weights is None else lambda: parts.opened.teacher,
            files,
            met=partial(parts.require_checked, "student.model"),
        )
    made = cut_student(
        parts.corpus,
        recipe.shrink,
        files,
        measure=validation(parts.corpus),
        progress=parts.progress,
    )
    return made.record
