"""The learning rate over steps: linear warm-up, then a cosine."""

from __future__ import annotations

import math

from potstill.recipe import TrainConfig


def learning_rate(step: int, steps: int, config: TrainConfig) -> float:
    """Return the rate of a step, counted from 0, of `steps` in all.

    Warm-up reaches the peak at its last step; the cosine ends at `final_learning_rate` times
    the peak just after the last step (SGDR, Loshchilov and Hutter 2017, equation 5, one cycle).
    """
    warm = math.ceil(config.warmup * steps)
    if step < warm:
        return config.learning_rate * (step + 1) / warm
    done = (step - warm) / max(1, steps - warm)
    floor = config.final_learning_rate
    return config.learning_rate * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * done)))
