"""The curve of a training: what is measured on its way, without the time of measuring."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

Row = dict[str, Any]


class CurveClock:
    """Takes the time of steps alone, and measures at points of the way."""

    def __init__(self, points: Sequence[int], measure: Callable[[], Row]) -> None:
        self._points, self._measure = set(points), measure
        self.curve: list[Row] = []
        self._paused = 0.0
        self._began = time.perf_counter()

    def stepped(self, step: int) -> None:
        if step not in self._points:
            return
        now = time.perf_counter()
        seconds = now - self._began - self._paused
        found = self._measure()
        self.curve.append({"step": step, "seconds": seconds, "own_kl": found["at_points"]})
        self._paused += time.perf_counter() - now
