"""Evaluate: every student that a run has made, by what the run has open."""

from __future__ import annotations

from potstill.evaluate.stage import Measuring, evaluate_student
from potstill.models.loaded import LoadedModel
from potstill.runs.parts import Parts
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.work.stage_records import EvaluateRecord, ShrinkRecord


def evaluate_students(parts: Parts) -> EvaluateRecord:
    """Measure the student and its baselines; return the record."""
    run, recipe = parts.run, parts.recipe
    directories = {"student": run.student, "untrained": parts.untrained}
    baseline = run.root / "cross_entropy"
    if baseline.is_dir():
        directories["cross_entropy"] = baseline
    return evaluate_student(
        directories,
        parts.corpus,
        parts.plan.held_out,
        Measuring(
            recipe.evaluate,
            recipe.task,
            recipe.cost.machine_hour,
            recipe.seed,
            own_text=recipe.train.on_policy is not None,
        ),
        pruned=_pruned(parts),
        vocabulary=parts.vocabulary,
        unasked=parts.unasked("held_out"),
        progress=parts.progress,
    )


def _pruned(parts: Parts) -> LoadedModel | None:
    """Return the student as it was cut, not healed; None where none was cut from the teacher."""
    shrunk = parts.run.done(ShrinkRecord)
    if parts.access.weights is None or shrunk is None or shrunk.blocks is None:
        return None
    teacher = parts.opened.teacher
    found, _ = pruned(teacher, Cut.of(shrunk))
    # Cut from fp32 weights, it is measured in the dtype that the other students are read in.
    found.network.to(teacher.compute_dtype)
    return found
