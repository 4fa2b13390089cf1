"""What is trained, and by which optimiser."""

from __future__ import annotations

from typing import Any

import torch

from potstill.recipe import TrainConfig
from potstill.train.checkpoint import trained_parameters


def trained(network: Any) -> list[torch.nn.Parameter]:
    """Return the parameters that training changes."""
    return list(trained_parameters(network).values())


def adamw(network: Any, config: TrainConfig) -> torch.optim.AdamW:
    """Return AdamW; norms and biases are not decayed."""
    matrices = [p for p in trained(network) if p.dim() >= 2]
    vectors = [p for p in trained(network) if p.dim() < 2]
    return torch.optim.AdamW(
        [
            {"params": matrices, "weight_decay": config.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ],
        lr=config.learning_rate,
        betas=config.betas,
        fused=True,
    )
