"""What is learnt: divergences from a teacher's distributions, and cross-entropy."""

from __future__ import annotations

from potstill.losses.chunked import distillation_loss
from potstill.losses.divergence import (
    Divergence,
    differentiated,
    register_divergence,
    unregister_divergence,
)

__all__ = [
    "Divergence",
    "differentiated",
    "distillation_loss",
    "register_divergence",
    "unregister_divergence",
]
