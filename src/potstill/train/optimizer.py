"""What is trained, by which optimiser, and whether its blocks are compiled."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import torch

from potstill.recipe import TrainConfig
from potstill.train.checkpoint import trained_parameters

# Compiling takes a quarter of a minute; on an H100 it took a quarter off steps of a seventh of a
# second (a trial by hand).
_STEPS_TO_COMPILE_FOR = 500


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


def pays_to_compile(config: TrainConfig, device: torch.device, steps: int) -> bool:
    """Return whether the student's blocks are compiled."""
    if config.compile != "auto":
        return config.compile == "always"
    can = device.type == "cuda" and find_spec("triton") is not None
    # Blocks with adapters have not been compiled on a GPU yet.
    return can and config.lora is None and steps >= _STEPS_TO_COMPILE_FOR
