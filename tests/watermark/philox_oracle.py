"""Philox4x32-10 in plain Python integers."""

from __future__ import annotations


def plain(counter: list[int], key: list[int]) -> list[int]:
    """Philox4x32-10 as the paper writes it, in whole numbers."""
    a, b, c, d = counter
    for turn in range(10):
        low = [(k + turn * w) % 2**32 for k, w in zip(key, (0x9E3779B9, 0xBB67AE85), strict=True)]
        left, right = a * 0xD2511F53, c * 0xCD9E8D57
        a, b, c, d = (
            right // 2**32 ^ b ^ low[0],
            right % 2**32,
            left // 2**32 ^ d ^ low[1],
            left % 2**32,
        )
    return [a, b, c, d]
