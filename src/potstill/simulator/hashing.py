"""Numbers and names that depend on their key alone: the same whatever is drawn beside them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Keys = NDArray[np.uint64]
# SplitMix64 (Steele, Lea and Flood 2014): its increment and the two factors of its finaliser.
_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_HEX = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)


def mixed(keys: Keys) -> Keys:
    """Return SplitMix64's finaliser of each key: a bijection that looks random."""
    x = keys + _STEP
    x ^= x >> np.uint64(30)
    x *= _FIRST
    x ^= x >> np.uint64(27)
    x *= _SECOND
    x ^= x >> np.uint64(31)
    return x


def keyed(key: int | np.uint64, numbers: NDArray[np.integer]) -> Keys:
    """Return one key for each number, drawn under `key`."""
    start = mixed(np.array([key], dtype=np.uint64))
    return mixed(numbers.astype(np.uint64) * _STEP ^ start)


def _place(place: int) -> Keys:
    return np.array([place + 1], dtype=np.uint64) * _STEP


def digit(keys: Keys, place: int, width: NDArray[np.integer] | int) -> NDArray[np.int64]:
    """Return for each key a number from 0 to width - 1, drawn anew for each place."""
    high = mixed(keys ^ _place(place)) >> np.uint64(33)
    return high.astype(np.int64) % width


def uniform(keys: Keys, place: int) -> NDArray[np.float64]:
    """Return for each key a number in [0, 1), drawn anew for each place."""
    high: NDArray[np.float64] = (mixed(keys ^ _place(place)) >> np.uint64(11)).astype(np.float64)
    return high * 2.0**-53


def names(prefix: str, keys: Keys, missing: NDArray[np.bool_] | None = None) -> pa.Array:
    """Return prefix + 16 hexadecimal digits for each key; null where `missing`."""
    octets = keys.astype(">u8").view(np.uint8).reshape(-1, 8)
    head = np.frombuffer(prefix.encode(), dtype=np.uint8)
    text = np.empty((len(keys), len(head) + 16), dtype=np.uint8)
    text[:, : len(head)] = head
    text[:, len(head) :: 2] = _HEX[octets >> 4]
    text[:, len(head) + 1 :: 2] = _HEX[octets & 15]
    offsets = np.arange(len(keys) + 1, dtype=np.int32) * text.shape[1]
    mask = None if missing is None else pa.array(~missing).buffers()[1]
    buffers = [mask, pa.py_buffer(offsets.tobytes()), pa.py_buffer(text.tobytes())]
    return pa.Array.from_buffers(pa.string(), len(keys), buffers)
