"""How a contender's steps are timed and its memory counted: the same way for all."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

import torch

from peers.memory import peak_bytes


@dataclass
class Clock:
    """Takes the time at the end of every step, so that all that a step needs is inside."""

    device: torch.device
    ends: list[float] = field(default_factory=list)

    def step_ended(self) -> None:
        """Call once a step, when its update is done."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.ends.append(time.perf_counter())

    def report(self, losses: list[float]) -> dict[str, Any]:
        """Return seconds of each step but the first, losses, and the process's peak memory."""
        seconds = [b - a for a, b in zip(self.ends[:-1], self.ends[1:], strict=True)]
        return {"seconds": seconds, "losses": losses, "peak_bytes": peak_bytes(self.device)}
