"""The words of many texts at once, as 32-bit numbers: what sketches of texts are made of.

Defined on the bytes of UTF-8, in whole numbers modulo 2^64 and 2^32 alone, so that every engine and
every version gets the same. A run of ASCII letters, ASCII digits and other characters beyond ASCII
is a word; letters count without case, every digit as 0. A character of a script without spaces (one
whose first byte is E3 to E9, such as Chinese and Japanese, or F0 to F4) is a word by itself. Words
of more than 64 bytes are cut into such of 64.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

LONGEST_WORD = 64  # bytes
_LANE = 8  # bytes that are read as one number
_SPLIT, _PART, _FIRST = 0, 1, 2  # no part of a word; part of one; always the first byte of one

# Odd numbers with well spread bits: the first digits of square roots' fractions.
MULTIPLIERS = (0x6A09E667F3BCC909, 0xBB67AE8584CAA73B, 0x3C6EF372FE94F82B)
_MASKS = np.array([(1 << (8 * n)) - 1 for n in range(_LANE)] + [2**64 - 1], np.uint64)


@dataclass(frozen=True)
class TextWords:
    """The words of N texts, one after the other.

    `words_W` are their hashes (uint32), `starts_N` says where each text's begin, `counts_N` how
    many it has.
    """

    words_W: NDArray[np.uint32]
    starts_N: NDArray[np.int64]
    counts_N: NDArray[np.int64]


def words_of(texts: pa.Array) -> TextWords:
    """Return the words of texts (an Arrow array of strings); a null has none."""
    offsets, content = _buffers(texts)
    starts, lengths = _runs(content, offsets)
    edges = np.searchsorted(starts, offsets)
    counts = np.diff(edges)
    if texts.null_count:
        counts = np.where(np.asarray(texts.is_null()), 0, counts)
    return TextWords(_hashes(content, starts, lengths), edges[:-1], counts)


def _tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return what each byte counts as in a word, and which kind of byte it is."""
    folded, kinds = np.arange(256, dtype=np.uint8), np.zeros(256, np.uint8)
    for byte in range(256):
        character = chr(byte)
        if byte < 128 and character.isalnum():
            folded[byte] = ord("0" if character.isdigit() else character.lower())
            kinds[byte] = _PART
        elif 0xE3 <= byte <= 0xE9 or 0xF0 <= byte <= 0xF4:
            kinds[byte] = _FIRST
        elif byte >= 128:
            kinds[byte] = _PART
    return folded, kinds


_FOLDED, _KINDS = _tables()


def _buffers(texts: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return where each text begins and the last one ends, and the bytes of all."""
    if not pa.types.is_large_string(texts.type):
        texts = texts.cast(pa.large_string())
    _, raw_offsets, raw = texts.buffers()
    if raw_offsets is None:
        return np.zeros(len(texts) + 1, np.int64), np.zeros(0, np.uint8)
    every = np.frombuffer(raw_offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    if raw is None:
        return every - every[0], np.zeros(0, np.uint8)
    content = np.frombuffer(raw, np.uint8)[every[0] : every[-1]]
    return every - every[0], content


def _runs(
    content: NDArray[np.uint8], offsets: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where words start, and how many bytes they have."""
    kinds = _KINDS[content]
    part = kinds != _SPLIT
    first = part.copy()
    first[1:] &= ~part[:-1]
    first |= kinds == _FIRST
    # A character of a script without spaces ends with its own bytes: the next begins anew.
    lone = np.flatnonzero(kinds == _FIRST)
    if len(lone):
        after = lone + np.where(content[lone] >= 0xF0, 4, 3)
        after = after[after < len(content)]
        first[after] |= part[after]
    begins = offsets[:-1][offsets[:-1] < len(content)]
    first[begins] |= part[begins]
    # A word's last byte is one before the next word, or before what is no part of one.
    last = part.copy()
    last[:-1] &= first[1:] | ~part[1:]
    starts, ends = np.flatnonzero(first), np.flatnonzero(last) + 1
    lengths = ends - starts
    if len(lengths) and lengths.max() > LONGEST_WORD:
        return _cut(starts, lengths)
    return starts, lengths


def _cut(
    starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    pieces = -(-lengths // LONGEST_WORD)
    which = np.repeat(np.arange(len(starts)), pieces)
    number = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    left = lengths[which] - number * LONGEST_WORD
    return starts[which] + number * LONGEST_WORD, np.minimum(left, LONGEST_WORD)


def _hashes(
    content: NDArray[np.uint8], starts: NDArray[np.int64], lengths: NDArray[np.int64]
) -> NDArray[np.uint32]:
    """Return 32 bits for each word: its bytes in lanes of eight, lowest first, mixed in turn."""
    padded = np.zeros(len(content) + _LANE, np.uint8)
    np.take(_FOLDED, content, out=padded[: len(content)])
    # The number that begins at each byte, without a copy.
    lanes: NDArray[Any] = np.ndarray(
        (len(content) + 1,), np.dtype("<u8"), buffer=padded.data, strides=(1,)
    )
    state = lengths.astype(np.uint64) * np.uint64(MULTIPLIERS[2])
    for lane in range(LONGEST_WORD // _LANE):
        left = lengths - lane * _LANE
        here = np.flatnonzero(left > 0) if lane else slice(None)
        if lane and not len(here):  # type: ignore[arg-type]
            break
        value = lanes[starts[here] + lane * _LANE] & _MASKS[np.minimum(left[here], _LANE)]
        state[here] = _mixed(state[here] ^ value)
    return (state >> np.uint64(32)).astype(np.uint32)


def _mixed(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    state *= np.uint64(MULTIPLIERS[0])
    state ^= state >> np.uint64(32)
    state *= np.uint64(MULTIPLIERS[1])
    state ^= state >> np.uint64(29)
    return state
