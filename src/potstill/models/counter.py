"""Random numbers of a text's own: the n-th is a function of its key and n alone.

numpy promises that the raw stream of a bit generator stays as it is from version to version, and
promises nothing of what `numpy.random.Generator` makes of it; so the numbers are made of it here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

# A float64 in [0, 1) has room for this many of the 64 bits.
_BITS = 53


def uniforms(key: str, count: int) -> NDArray[np.float64]:
    """Return `count` numbers in [0, 1), the n-th for response position n.

    A Philox counter (Salmon et al. 2011) keyed by the digest of `key`, an exchange's id: neither
    the batch nor the order of work changes them, nor does how many are asked for.
    """
    return _numbers([key], [0], count).ravel()


def more_uniforms(key: str, position: int, count: int) -> NDArray[np.float64]:
    """Return `count` more numbers in [0, 1) for one response position, beside its own.

    For choosers that draw again and again. The counter's upper half is the position, so that no
    two positions, and not the numbers of `uniforms` either, share any.
    """
    return more_uniforms_of([key], [position], count).ravel()


def more_uniforms_of(
    keys: Sequence[str], positions: Sequence[int], count: int
) -> NDArray[np.float64]:
    """Return number_RC, `more_uniforms` of each of R keys at a position."""
    return _numbers(keys, [position + 1 for position in positions], count)


def _numbers(keys: Sequence[str], halves: Sequence[int], count: int) -> NDArray[np.float64]:
    """Return `count` numbers of each key; the upper half of the counter's 256 bits is given."""
    # Setting a counter's state takes a tenth of the time of making a counter.
    counter = np.random.Philox(key=0)
    state = counter.state
    raw = np.empty((len(keys), count), np.uint64)
    for row, (key, half) in enumerate(zip(keys, halves, strict=True)):
        digest = blake3(key.encode()).digest(length=16)
        state["state"]["key"] = np.frombuffer(digest, dtype="<u8").astype(np.uint64)
        state["state"]["counter"] = np.array([0, 0, half, 0], np.uint64)
        counter.state = state
        raw[row] = counter.random_raw(count)
    return (raw >> np.uint64(64 - _BITS)).astype(np.float64) * 2.0**-_BITS
