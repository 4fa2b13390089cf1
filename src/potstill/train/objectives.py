"""Which divergences a training learns by."""

from __future__ import annotations

from potstill.losses.divergence import Divergence
from potstill.recipe import TrainConfig


def divergences_of(config: TrainConfig) -> tuple[Divergence, Divergence]:
    """Return the divergence on stored answers, and that on the student's own."""
    stored, on_policy = config.objective, config.on_policy
    own = stored if on_policy is None else on_policy.objective or stored
    return (
        Divergence(stored, beta=config.beta, alpha=config.alpha),
        Divergence(own, beta=config.beta, alpha=config.alpha),
    )
