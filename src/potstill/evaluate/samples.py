"""Which prompts are shown to a person, or measured: drawn, never chosen."""

from __future__ import annotations

import random


def choose(count: int, of: int, *, seed: int) -> list[int]:
    """Return which of `of` prompts are shown: drawn by the seed, never by how well they went."""
    return sorted(random.Random(seed).sample(range(of), min(count, of)))
