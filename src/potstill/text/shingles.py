"""Runs of words that two texts may share, and how alike that makes them.

Broder 1997, "On the resemblance and containment of documents".
"""

from __future__ import annotations

from collections.abc import Sequence

Shingle = tuple[str, ...]

SHINGLE_WORDS = 3
# Texts at least so similar are nearly the same.
THRESHOLD = 0.6


def shingles_of(words: Sequence[str], size: int = SHINGLE_WORDS) -> frozenset[Shingle]:
    """Return the runs of `size` words; a shorter text is one shingle."""
    if len(words) <= size:
        return frozenset([tuple(words)])
    return frozenset(tuple(words[i : i + size]) for i in range(len(words) - size + 1))


def jaccard(one: frozenset[Shingle], other: frozenset[Shingle]) -> float:
    """Return shared shingles over all shingles, in [0, 1]."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)
