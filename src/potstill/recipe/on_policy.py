"""Which choices go together where a student learns from answers of its own."""

from __future__ import annotations

from potstill.recipe.asking import CollectConfig, TeacherConfig
from potstill.recipe.learning import TrainConfig


def check_on_policy(teacher: TeacherConfig, collect: CollectConfig, train: TrainConfig) -> None:
    """Refuse to learn from the student's own answers where nobody can tell what is right of them.

    Raises ValueError with the way out.
    """
    if train.on_policy is None:
        return
    for name, given, why in (
        (
            "teacher.endpoint",
            teacher.endpoint is not None,
            "what the student writes is scored by a teacher whose weights are at hand",
        ),
        ("collect.calls", collect.calls is not None and collect.calls.use == "exchanges", _TEXT),
        ("collect.gold", collect.gold, _TEXT),
        (
            "collect.watermark",
            collect.watermark is not None,
            "the teacher would tell its distribution without the mark, which would be washed out",
        ),
    ):
        if given:
            raise ValueError(
                f"{name} and train.on_policy cannot be combined: {why}; take train.on_policy out"
            )
    if train.cross_entropy == 1:
        raise ValueError(
            "train.cross_entropy 1 and train.on_policy cannot be combined: cross-entropy on its "
            "own text teaches a student what it does already; lower train.cross_entropy, which "
            "counts for stored answers alone, or take train.on_policy out"
        )


_TEXT = "these answers are text alone, and nobody tells what the teacher makes of the student's"
