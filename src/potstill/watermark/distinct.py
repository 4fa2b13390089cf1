"""Which of many rows of whole numbers are equal, exactly: never by a hash alone.

Rows that fit into one word are packed into it and sorted. Wider ones are sorted by a *key*: a
mixture of the row in a word's upper bits, the row's number in its lower ones. So one sort of words
brings equal rows side by side, first come first, and where rows share a mixture they are compared
in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.watermark.blocks import in_threads, over_blocks
from potstill.watermark.prf import Columns, Words

_WORD = 64
# Words that are sorted at a time; sorted parts are then merged.
_PART = 1 << 20
# Odd numbers whose bits look random, from the golden ratio: they spread rows, and decide nothing.
_SPREAD = np.uint64(0x9E3779B97F4A7C15)


def distinct_rows(columns: Sequence[NDArray[Any]], keep_N: NDArray[np.bool_]) -> Columns:
    """Return each row once of those that `keep_N` marks, as columns; in an order of its own.

    The order depends on the set of rows alone, not on where or how often they were.
    """
    widths = _widths(columns)
    if sum(widths) <= _WORD:
        dtype = np.dtype(np.uint32 if sum(widths) <= 32 else np.uint64)
        word_N = over_blocks(lambda block: _packed(block, [widths])[0], columns, dtype)
        return _unpacked(np.concatenate(_ascending(word_N, keep_N)), widths)
    low, ranges = _keys(columns, keep_N, widths)

    def of_range(at: int) -> Columns:
        order_R, begins_R = _runs(columns, ranges[at], low, widths)
        first_R = order_R[begins_R]
        return tuple(column[first_R] for column in columns)

    found = in_threads(of_range, range(len(ranges)))
    return tuple(np.concatenate(pieces) for pieces in zip(*found, strict=True))


def groups_of(columns: Sequence[NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each of N rows the number of its group, and each group's first row.

    Equal rows, and only these, are of one group.
    """
    widths = _widths(columns)
    low, ranges = _keys(columns, np.ones(len(columns[0]), bool), widths)
    found = in_threads(lambda at: _runs(columns, ranges[at], low, widths), range(len(ranges)))
    order_N, begins_N = (np.concatenate(pieces) for pieces in zip(*found, strict=True))
    group_N = np.empty(len(order_N), np.int64)
    group_N[order_N] = np.cumsum(begins_N) - 1
    return group_N, order_N[begins_N]


def _keys(
    columns: Sequence[NDArray[Any]], keep_N: NDArray[np.bool_], widths: list[int]
) -> tuple[np.uint64, list[Words]]:
    """Return the keys of rows that are kept, ascending and parted into ranges.

    The first number returned has a one for each bit of a key that tells the row's number. Rows
    that share the other bits are all in one range.
    """
    count = len(keep_N)
    low = np.uint64((1 << count.bit_length()) - 1)
    parts = _parts(widths)

    def keys(block: Columns) -> Words:
        mixed = _mixed(_packed(block[:-1], parts))
        mixed &= ~low
        mixed |= block[-1]
        return mixed

    numbers_N = np.arange(count, dtype=np.uint64)
    key_N = over_blocks(keys, (*columns, numbers_N), np.dtype(np.uint64))
    return low, _ascending(key_N, keep_N, low)


def _runs(
    columns: Sequence[NDArray[Any]], key_R: Words, low: np.uint64, widths: list[int]
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return a range's row numbers so that equal rows lie side by side, and where groups begin.

    A group's rows are in the order in which they came.
    """
    order_R = (key_R & low).astype(np.int64)
    begins_R = np.ones(len(key_R), bool)
    np.greater(key_R[1:] ^ key_R[:-1], low, out=begins_R[1:])
    apart_R = begins_R.copy()
    again = np.flatnonzero(~begins_R)
    apart_R[again] = _differ(columns, order_R[again], order_R[again - 1])
    if not apart_R[again].any():
        return order_R, begins_R
    # Different rows share a mixture: their runs are sorted by the whole of the rows.
    run_R = np.cumsum(begins_R)
    mixed = np.isin(run_R, run_R[again[apart_R[again]]])
    rows = tuple(column[order_R[mixed]] for column in columns)
    whole = _mixed(_packed(rows, _parts(widths)))
    order_R[mixed] = order_R[mixed][np.lexsort((order_R[mixed], *rows, whole))]
    at = np.flatnonzero(mixed)
    at = at[at > 0]
    apart_R[at] = begins_R[at] | _differ(columns, order_R[at], order_R[at - 1])
    return order_R, apart_R


def _differ(
    columns: Sequence[NDArray[Any]], one_M: NDArray[np.int64], other_M: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell for pairs of row numbers whether their rows differ."""
    differs_M = np.zeros(len(one_M), bool)
    for column in columns:
        differs_M |= column[one_M] != column[other_M]
    return differs_M


def _mixed(words: list[Words]) -> Words:
    """Return a mixture of each row's words; its upper bits depend on all of the row's."""
    mixed = words[0]
    for word in words[1:]:
        mixed = _spread(mixed)
        mixed += word
    return _spread(mixed)


def _spread(word: Words) -> Words:
    spread = word >> np.uint64(29)
    spread ^= word
    spread *= _SPREAD
    return spread


def _widths(columns: Sequence[NDArray[Any]]) -> list[int]:
    """Return how many bits each column needs."""
    return [int(column.max()).bit_length() if len(column) else 0 for column in columns]


def _parts(widths: list[int]) -> list[list[int]]:
    """Return the columns' widths parted so that each part fits into one word."""
    parts: list[list[int]] = [[]]
    for width in widths:
        if sum(parts[-1]) + width > _WORD:
            parts.append([])
        parts[-1].append(width)
    return parts


def _packed(columns: Sequence[NDArray[Any]], parts: list[list[int]]) -> list[Words]:
    words, left = [], iter(columns)
    for widths in parts:
        word = np.zeros(len(columns[0]), np.uint64)
        for width in widths:
            # A shift by the whole width of a word is not defined; only an empty word meets it.
            if 0 < width < _WORD:
                word <<= np.uint64(width)
            word |= next(left).astype(np.uint64)
        words.append(word)
    return words


def _unpacked(word: NDArray[Any], widths: list[int]) -> Columns:
    columns: list[NDArray[Any]] = []
    for width in reversed(widths):
        columns.append(word & word.dtype.type((1 << width) - 1))
        full = width == 8 * word.dtype.itemsize
        word = np.zeros_like(word) if full else word >> word.dtype.type(width)
    return tuple(reversed(columns))


def _ascending(
    word_N: NDArray[Any], keep_N: NDArray[np.bool_], low: np.uint64 = np.uint64(0)
) -> list[NDArray[Any]]:
    """Return the words that are kept, each once and ascending, parted into ranges.

    Words that differ in the bits of `low` alone are all in one range. Parts are sorted on every
    core, then merged range by range.
    """

    def sorted_part(at: int) -> NDArray[Any]:
        rows = slice(at, at + _PART)
        return _once(word_N[rows][keep_N[rows]])

    parts: list[NDArray[Any]] = in_threads(sorted_part, range(0, max(len(keep_N), 1), _PART))
    ends = _range_ends(parts, low)

    def merged(at: int) -> NDArray[Any]:
        pieces = [part[end[at] : end[at + 1]] for part, end in zip(parts, ends, strict=True)]
        return _once(np.concatenate(pieces))

    return in_threads(merged, range(len(parts)))


def _range_ends(parts: list[NDArray[Any]], low: np.uint64) -> list[list[int]]:
    """Return for each ascending part where the ranges of values begin and end in it.

    There are as many ranges as parts, of about equally many words.
    """
    if not any(len(part) for part in parts):
        return [[0] * (len(parts) + 1)] * len(parts)
    samples = np.sort(np.concatenate([part[:: max(1, len(part) // 256)] for part in parts]))
    bounds = samples[[len(samples) * i // len(parts) for i in range(1, len(parts))]]
    bounds &= ~low.astype(bounds.dtype)
    return [[0, *np.searchsorted(part, bounds).tolist(), len(part)] for part in parts]


def _once(word: NDArray[Any]) -> NDArray[Any]:
    word.sort()
    differs = np.ones(len(word), bool)
    np.not_equal(word[1:], word[:-1], out=differs[1:])
    return word[differs]
