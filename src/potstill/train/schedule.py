"""The learning rate over steps: linear warm-up, then a cosine.

How many steps there are may change on the way, where a training has to end by the clock
(`potstill.runs.minutes`): what is left of the schedule is then stretched over what is left of the
steps, so that the rate goes on from where it is and ends where it would have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from potstill.recipe import TrainConfig
from potstill.work.time_plan import Leg


class TrainingPace(Protocol):
    """Says how many steps a training has, as often as it is asked."""

    def begun(self, planned: int, done: int) -> tuple[Leg, ...]:
        """Return the legs of a training of at most `planned` steps that goes on after `done`."""
        ...

    def legs(self, done: int) -> tuple[Leg, ...]:
        """Return the legs as they are now, after `done` steps; durable where they are others."""
        ...

    def stepped(self, tokens: int, seconds: float, apart: float = 0.0) -> None:
        """Take what a step read, and how long that took; `apart` of it went by before its text was
        there, since the student had to write it."""


def scheduled(step: int, legs: Sequence[Leg]) -> float:
    """Return where a step, counted from 0, stands in the schedule of the first leg.

    With one leg that is the step itself. From a later leg's first step on the rest of the schedule
    is laid over the rest of that leg's steps.
    """
    place, begun, whole, total = 0.0, 0, legs[0].total, legs[0].total
    for leg in legs[1:]:
        if leg.at > step:
            break
        place += (leg.at - begun) * (whole - place) / (total - begun)
        begun, total = leg.at, leg.total
    return place + (step - begun) * (whole - place) / max(1, total - begun)


def learning_rate(step: float, steps: int, config: TrainConfig) -> float:
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
