"""Random numbers of a text's own: the n-th is a function of its key and n alone.

numpy promises that the raw stream of a bit generator stays as it is from version to version, and
promises nothing of what `numpy.random.Generator` makes of it; so the numbers are made of it here.
"""

from __future__ import annotations

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

# A float64 in [0, 1) has room for this many of the 64 bits.
_BITS = 53
# Of the counter's 256 bits.
_HALF = 128


def uniforms(key: str, count: int) -> NDArray[np.float64]:
    """Return `count` numbers in [0, 1), the n-th for response position n.

    A Philox counter (Salmon et al. 2011) keyed by the digest of `key`, an exchange's id: neither
    the batch nor the order of work changes them, nor does how many are asked for.
    """
    return _numbers(key, 0, count)


def more_uniforms(key: str, position: int, count: int) -> NDArray[np.float64]:
    """Return `count` more numbers in [0, 1) for one response position, beside its own.

    For choosers that draw again and again. The counter's upper half is the position, so that no
    two positions, and not the numbers of `uniforms` either, share any.
    """
    return _numbers(key, (position + 1) << _HALF, count)


def _numbers(key: str, start: int, count: int) -> NDArray[np.float64]:
    digest = blake3(key.encode()).digest(length=16)
    counter = np.random.Philox(key=int.from_bytes(digest, "little"), counter=start)
    raw = np.asarray(counter.random_raw(count), dtype=np.uint64)
    return (raw >> np.uint64(64 - _BITS)).astype(np.float64) * 2.0**-_BITS
