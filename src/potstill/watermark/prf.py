"""SipHash-2-4 over token ids, many at a time (Aumasson and Bernstein 2012, INDOCRYPT).

A message is token ids, each as four bytes, lowest first: the window, oldest first, then the
token. Its hash under a 128-bit key gives 53 bits, which are a number in [0, 1) that nobody tells
from a random one without the key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.watermark.blocks import over_blocks

Words = NDArray[np.uint64]
Columns = tuple[NDArray[Any], ...]

# What a float64 in [0, 1) has room for, of 64 bits.
BITS = 53
_DROPPED = np.uint64(64 - BITS)
# The four words that a key is mixed with: "somepseudorandomlygeneratedbytes".
START = (0x736F6D6570736575, 0x646F72616E646F6D, 0x6C7967656E657261, 0x7465646279746573)


def siphash(columns: Sequence[NDArray[Any]], key: bytes) -> Words:
    """Return the hash of each of N messages; `columns` holds their ids, one array a place.

    Ids are whole numbers in [0, 2^32). Raises ValueError for a key that has not 16 bytes.
    """
    return of_hashes(columns, key, lambda hashes: hashes, np.dtype(np.uint64))


def of_hashes(
    columns: Sequence[NDArray[Any]],
    key: bytes,
    function: Callable[[Words], NDArray[Any]],
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Return a function of the messages' hashes, as N numbers of a type."""
    k0, k1 = key_words(key)
    return over_blocks(lambda block: function(_hashed(block, k0, k1)), columns, dtype)


def key_words(key: bytes) -> tuple[int, int]:
    """Return the two words of a 128-bit key."""
    if len(key) != 16:
        raise ValueError("SipHash takes a key of 16 bytes")
    return int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")


def uniforms_of(hashes: Words) -> NDArray[np.float64]:
    """Return numbers in [0, 1) of hashes' upper 53 bits."""
    return (hashes >> _DROPPED).astype(np.float64) * 2.0**-BITS


def below(hashes: Words, rate: float) -> NDArray[np.bool_]:
    """Tell which of the hashes' numbers lie below a rate in (0, 1)."""
    return hashes < np.uint64(bound_of(rate))


def bound_of(rate: float) -> int:
    """Return the least hash whose number is not below `rate`."""
    return ceil(rate * 2.0**BITS) << int(_DROPPED)


def _hashed(columns: Columns, k0: int, k1: int) -> Words:
    """Return the hashes; what all messages begin with alike is hashed once."""
    v = [np.array([k ^ s], np.uint64) for k, s in zip((k0, k1, k0, k1), START, strict=True)]
    spare = np.empty_like(v[0])
    for word in _words(columns):
        if len(v[0]) == 1 != len(word):
            v = [np.repeat(one, len(word)) for one in v]
            spare = np.empty_like(v[0])
        v[3] ^= word
        _rounds(v, spare, 2)
        v[0] ^= word
    v[2] ^= np.uint64(0xFF)
    _rounds(v, spare, 4)
    v[0] ^= v[1]
    v[2] ^= v[3]
    v[0] ^= v[2]
    return v[0] if len(v[0]) == len(columns[0]) else np.repeat(v[0], len(columns[0]))


def _words(columns: Columns) -> list[Words]:
    """Return the message's words: ids in pairs, then what is left over with the length on top.

    A word that is the same in all messages comes once.
    """
    words = [_short(column).astype(np.uint64) for column in columns]
    pairs = [a | (b << np.uint64(32)) for a, b in zip(words[::2], words[1::2], strict=False)]
    last = np.uint64((4 * len(columns) & 0xFF) << 56)
    left = words[-1] | last if len(words) % 2 else np.array([last])
    return [*pairs, left]


def _short(column: NDArray[Any]) -> NDArray[Any]:
    """Return one number for a column that numpy broadcast from it."""
    return column[:1] if column.strides == (0,) else column


def _rounds(v: list[Words], spare: Words, count: int) -> None:
    for _ in range(count):
        v[0] += v[1]
        _turn(v[1], 13, spare)
        v[1] ^= v[0]
        _turn(v[0], 32, spare)
        v[2] += v[3]
        _turn(v[3], 16, spare)
        v[3] ^= v[2]
        v[0] += v[3]
        _turn(v[3], 21, spare)
        v[3] ^= v[0]
        v[2] += v[1]
        _turn(v[1], 17, spare)
        v[1] ^= v[2]
        _turn(v[2], 32, spare)


def _turn(word: Words, bits: int, spare: Words) -> None:
    """Rotate words to the left in place."""
    np.left_shift(word, np.uint64(bits), out=spare)
    np.right_shift(word, np.uint64(64 - bits), out=word)
    word |= spare
