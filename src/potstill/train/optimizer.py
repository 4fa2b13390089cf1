"""What is trained, and by which optimiser."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from potstill.recipe import TrainConfig
from potstill.train.checkpoint import trained_parameters


def trained(network: Any) -> list[torch.nn.Parameter]:
    """Return the parameters that training changes."""
    return list(trained_parameters(network).values())


def adamw(
    network: Any, config: TrainConfig, beside: Iterable[torch.nn.Parameter] = ()
) -> torch.optim.AdamW:
    """Return AdamW; norms, biases and what is trained `beside` the network are not decayed."""
    matrices = [p for p in trained(network) if p.dim() >= 2]
    vectors = [p for p in trained(network) if p.dim() < 2]
    others = list(beside)
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
            *([{"params": others, "weight_decay": 0.0}] if others else []),
        ],
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,
    )
