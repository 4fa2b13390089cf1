"""Which choices go together where a student's hidden states are matched to its teacher's."""

from __future__ import annotations

from potstill.recipe.asking import CollectConfig, TeacherConfig
from potstill.recipe.learning import TrainConfig


def check_hidden_matching(
    teacher: TeacherConfig, collect: CollectConfig, train: TrainConfig
) -> None:
    """Refuse to match hidden states where nobody has the teacher's.

    Raises ValueError with the way out.
    """
    matching = train.hidden_matching
    if matching is None:
        return
    out = "take train.hidden_matching out"
    for name, given, why in (
        ("teacher.endpoint", teacher.endpoint is not None, "a server gives no hidden states"),
        ("collect.calls", collect.calls is not None and collect.calls.use == "exchanges", _TEXT),
        ("collect.gold", collect.gold, _TEXT),
        (
            "collect.watermark",
            collect.watermark is not None,
            "hidden states are those of the distribution without the mark",
        ),
    ):
        if given:
            raise ValueError(f"{name} and train.hidden_matching cannot be combined: {why}; {out}")
    if train.cross_entropy == 1:
        raise ValueError(
            "train.cross_entropy 1 and train.hidden_matching cannot be combined: a student that "
            f"learns from text alone meets no states of its teacher's; lower train.cross_entropy, "
            f"or {out}"
        )
    if collect.targets in ("sampled", "top-k"):
        raise ValueError(
            f"collect.targets {collect.targets} and train.hidden_matching cannot be combined: "
            f"tokens of a distribution tell nothing of the states behind it; set collect.targets "
            f"to hidden, or {out}"
        )
    if matching.reads and train.compile == "always":
        raise ValueError(
            "train.compile always and train.hidden_matching.layers cannot be combined: compiled "
            "blocks do not show what they give; set train.compile to auto, or layers to last"
        )


_TEXT = "these answers are text alone, and nobody knows the states behind them"
