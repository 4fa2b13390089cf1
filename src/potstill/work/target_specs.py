"""Which targets collecting makes, split by split."""

from __future__ import annotations

from collections.abc import Mapping

from potstill.exchanges.exchange import Split
from potstill.exchanges.specs import HIDDEN_FP16, HIDDEN_INT8, TargetSpec
from potstill.recipe import CollectConfig

TargetSpecs = Mapping[Split, TargetSpec | None]


def target_specs(config: CollectConfig, temperature: float) -> TargetSpecs:
    """Return the form of targets that each split gets; None stores text only.

    Training gets what the recipe wants, draws at `temperature`, which is the loss's. What is
    measured on is kept whole: held-out text always, validation text unless there are no targets,
    or it is marked: its states would be those of the distribution without the mark.
    """
    wanted = training_spec(config, temperature)
    by_text = wanted is None or config.watermark is not None
    return {
        "train": wanted,
        "validation": None if by_text else HIDDEN_FP16,
        "held_out": HIDDEN_FP16,
    }


def training_spec(config: CollectConfig, temperature: float) -> TargetSpec | None:
    """Return the form of targets that the recipe wants for training."""
    if config.targets == "none":
        return None
    if config.targets == "sampled":
        return TargetSpec("sampled", config.draws, temperature)
    if config.targets == "top-k":
        return TargetSpec("top-k", config.top_k_targets)
    return HIDDEN_INT8 if config.targets == "hidden-int8" else HIDDEN_FP16
