"""Philox4x32-10, vectorised over counters and keys.

Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), section 3.
It is here for the marks that servers write with it. Its key has 64 bits and it is no cryptographic
function: potstill's own marks use SipHash.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint32]
"""32-bit words, one an element."""

ROUNDS = 10
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = 0x9E3779B9, 0xBB67AE85
_LOW, _HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
# Elements worked on at once: ten arrays of this length fit into a core's second-level cache.
_BLOCK = 1 << 13


def philox4x32(
    counter: tuple[Words, Words, Words, Words], key: tuple[Words, Words]
) -> tuple[Words, Words, Words, Words]:
    """Return the four words of each counter under each key; shapes are broadcast."""
    shape = np.broadcast_shapes(*(np.shape(word) for word in (*counter, *key)))
    flat = [np.broadcast_to(word, shape).reshape(-1) for word in (*counter, *key)]
    out = np.empty((4, int(np.prod(shape, dtype=np.int64))), np.uint32)
    for start in range(0, out.shape[1], _BLOCK):
        part = slice(start, start + _BLOCK)
        for word, drawn in zip(out, _block([word[part] for word in flat]), strict=True):
            word[part] = drawn
    first, second, third, fourth = (word.reshape(shape) for word in out)
    return first, second, third, fourth


def _block(words: list[Words]) -> tuple[NDArray[np.uint64], ...]:
    """Return four words below 2^32 of four counter words and two key words of one length."""
    # 64 bits hold a product of two words: its halves are what a round mixes.
    c0, c1, c2, c3, k0, k1 = (word.astype(np.uint64) for word in words)
    for turn in range(ROUNDS):
        if turn:
            k0 = (k0 + np.uint64(_W0)) & _LOW
            k1 = (k1 + np.uint64(_W1)) & _LOW
        p0, p1 = c0 * _M0, c2 * _M1
        c0 = (p1 >> _HALF) ^ c1 ^ k0
        c1 = p1 & _LOW
        c2 = (p0 >> _HALF) ^ c3 ^ k1
        c3 = p0 & _LOW
    return c0, c1, c2, c3
