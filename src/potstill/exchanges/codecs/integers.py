"""Integers in few bits: ascending sequences, small counts, fields of a fixed width.

All of it goes bit by bit through numpy arrays, so that no loop in Python runs over values.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Bits = NDArray[np.uint8]
Data = bytes | memoryview | pa.Buffer


def ascending_bits(values_N: Ints, universe: int) -> Bits:
    """Return the bits of strictly ascending values in [0, universe).

    Elias-Fano coding (Elias 1974; Fano 1971): the low bits as they are, the high ones as gaps in
    unary; about 2 + log2(universe / N) bits a value, whatever the values are.
    """
    low = _low_bits(len(values_N), universe)
    unary = np.zeros(_high_length(len(values_N), universe), np.uint8)
    unary[(values_N >> low) + np.arange(len(values_N))] = 1
    return np.concatenate([unary, fixed_bits(values_N & ((1 << low) - 1), low)])


def ascending_from(bits: Bits, count: int, universe: int) -> tuple[Ints, int]:
    """Return the values that `ascending_bits` was given, and how many bits they took."""
    low, length = _low_bits(count, universe), _high_length(count, universe)
    high_N = np.flatnonzero(bits[:length]) - np.arange(count)
    end = length + count * low
    low_N = fixed_from(bits[length:end], low)
    return (high_N << low) | low_N, end


def ascending_length(count: int, universe: int) -> int:
    """Return how many bits `ascending_bits` takes for so many values."""
    return _high_length(count, universe) + count * _low_bits(count, universe)


def count_bits(counts_N: Ints) -> Bits:
    """Return the bits of counts of at least 1: Elias gamma codes (Elias 1975), lengths first.

    A count of 1 takes one bit, one of c takes 2 floor(log2 c) + 1.
    """
    extra_N = _floor_log2(counts_N)
    unary = np.zeros(int(extra_N.sum()) + len(counts_N), np.uint8)
    unary[np.cumsum(extra_N + 1) - 1] = 1
    owner_B, place_B = _places(extra_N)
    rest = ((counts_N[owner_B] >> place_B) & 1).astype(np.uint8)
    return np.concatenate([unary, rest])


def counts_from(bits: Bits, count: int) -> tuple[Ints, int]:
    """Return the counts that `count_bits` was given, and how many bits they took."""
    if count == 0:
        return np.zeros(0, np.int64), 0
    ends_N = np.flatnonzero(bits)[:count]
    extra_N = np.diff(ends_N, prepend=-1) - 1
    owner_B, place_B = _places(extra_N)
    start = int(ends_N[-1]) + 1
    end = start + len(owner_B)
    counts_N = np.int64(1) << extra_N
    np.add.at(counts_N, owner_B, bits[start:end].astype(np.int64) << place_B)
    return counts_N, end


def fixed_bits(values_N: Ints, width: int) -> Bits:
    """Return values of `width` bits each, least significant bit first."""
    return ((values_N[:, None] >> np.arange(width)) & 1).astype(np.uint8).ravel()


def fixed_from(bits: Bits, width: int) -> Ints:
    """Return the values that `fixed_bits` was given; with a width of 0, one zero for all."""
    if width == 0:
        return np.zeros(1, np.int64)
    weights = np.int64(1) << np.arange(width)
    return np.asarray(bits.reshape(-1, width) @ weights, np.int64)


def to_bytes(bits: Bits) -> bytes:
    """Return bits as bytes, the last one filled up with zeros."""
    return np.packbits(bits, bitorder="little").tobytes()


def from_bytes(data: bytes | memoryview) -> Bits:
    """Return the bits of bytes; zeros may follow what was packed."""
    return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")


def _low_bits(count: int, universe: int) -> int:
    return max(0, (universe // max(1, count)).bit_length() - 1)


def _high_length(count: int, universe: int) -> int:
    return count + (max(0, universe - 1) >> _low_bits(count, universe))


def _floor_log2(values_N: Ints) -> Ints:
    # frexp is exact for every integer below 2^53.
    return np.frexp(values_N.astype(np.float64))[1].astype(np.int64) - 1


def _places(lengths_N: Ints) -> tuple[Ints, Ints]:
    """Return for each bit of fields of these lengths the field it is in and its place there."""
    owner_B = np.repeat(np.arange(len(lengths_N)), lengths_N)
    starts_N = np.cumsum(lengths_N) - lengths_N
    return owner_B, np.arange(len(owner_B)) - starts_N[owner_B]
