"""What models are called, and what figures lack, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from potstill.work.evaluation import Evaluation, ModelFigures, Models

ModelKey = Literal["teacher", "pruned", "untrained", "cross_entropy", "student"]

_LEFT_OUT = {
    "no_answer": "without an answer",
    "too_long": "longer than the student reads",
    "unrenderable": "that its chat template cannot lay out",
    "empty": "with an empty answer",
    "invalid": "with broken characters or calls",
}


def measured_models(models: Models) -> dict[ModelKey, ModelFigures]:
    """Return the models that were measured, the teacher first and the student last."""
    every: tuple[tuple[ModelKey, ModelFigures | None], ...] = (
        ("teacher", models.teacher),
        ("pruned", models.pruned),
        ("untrained", models.untrained),
        ("cross_entropy", models.cross_entropy),
        ("student", models.student),
    )
    return {key: figures for key, figures in every if figures is not None}


def measured_students(models: Models) -> dict[ModelKey, ModelFigures]:
    """Return the same without the teacher."""
    return {key: one for key, one in measured_models(models).items() if key != "teacher"}


def model_name(key: ModelKey, evaluation: Evaluation) -> str:
    """Return what a model is called on the page."""
    trained, cut = evaluation.training, evaluation.shrink
    healed = cut is None or cut.heal != "none"
    if key == "untrained" and evaluation.models.pruned is not None:
        return "Cut and healed, untrained" if healed else "Cut, untrained"
    if key == "cross_entropy" and trained is not None and trained.cross_entropy_kept_step == 0:
        return "Trained on text alone, no better: as before"
    return {
        "teacher": "Teacher",
        "student": "Student",
        "pruned": "Cut only",
        "untrained": "Before training",
        "cross_entropy": "Trained on text alone",
    }[key]


def by_gold(evaluation: Evaluation) -> bool:
    """Tell whether right answers were learnt, so that there is no teacher to compare with."""
    return evaluation.answers == "gold"


def kept_untrained(evaluation: Evaluation) -> bool:
    """Tell whether the student that is kept is the one before training."""
    return evaluation.training is not None and evaluation.training.kept_step == 0


def left_out(counts: Mapping[str, int]) -> str:
    """Return what a figure lacks: `3 more left out: 2 without an answer, 1 ...`, or nothing."""
    found = {name: count for name, count in counts.items() if count > 0}
    if not found:
        return ""
    parts = ", ".join(
        f"{count:,} {_LEFT_OUT.get(name, name.replace('_', ' '))}" for name, count in found.items()
    )
    return f"{sum(found.values()):,} more left out: {parts}"
