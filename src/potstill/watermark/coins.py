"""Coins for randomised p-values: fixed by what is tested, so that nobody tosses twice."""

from __future__ import annotations

from blake3 import blake3

_BITS = 53


def coin_of(*facts: str) -> float:
    """Return a number in [0, 1) that the given facts decide, as good as random in each of them."""
    digest = blake3("\0".join(("potstill coin", *facts)).encode()).digest(length=8)
    return (int.from_bytes(digest, "little") >> (64 - _BITS)) * 2.0**-_BITS
