"""Which of many rows of whole numbers are equal, exactly: never by a hash alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from potstill.watermark.blocks import in_threads
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
    if sum(widths) > _WORD:
        kept = tuple(column[keep_N] for column in columns)
        order_N, begins_N = _sorted(_packed(kept, _parts(widths)))
        return tuple(column[order_N[begins_N]] for column in kept)
    return _unpacked(_distinct_words(columns, keep_N, widths), widths)


def groups_of(columns: Sequence[NDArray[Any]]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each of N rows the number of its group, and each group's first row.

    Equal rows, and only these, are of one group.
    """
    order_N, begins_N = _sorted(_packed(columns, _parts(_widths(columns))))
    group_N = np.empty(len(order_N), np.int64)
    group_N[order_N] = np.cumsum(begins_N) - 1
    if not len(order_N):
        return group_N, group_N
    return group_N, np.minimum.reduceat(order_N, np.flatnonzero(begins_N))


def _sorted(words: list[Words]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return an order in which equal rows lie side by side, and where in it each group begins.

    Rows are sorted by something shorter than themselves. Where two different rows share it, which
    is seen here, they are sorted by the whole of them.
    """
    short = _mixed(words)
    order_N = np.argsort(short)
    begins_N = _differs(words, order_N)
    if len(words) > 1:
        short = short[order_N]
        if bool(np.any((short[1:] == short[:-1]) & begins_N[1:])):
            order_N = np.lexsort(tuple(words))
            begins_N = _differs(words, order_N)
    return order_N, begins_N


def _differs(words: list[Words], order_N: NDArray[Any]) -> NDArray[np.bool_]:
    differs_N = np.zeros(len(order_N), bool)
    differs_N[:1] = True
    for word in words:
        sorted_N = word[order_N]
        differs_N[1:] |= sorted_N[1:] != sorted_N[:-1]
    return differs_N


def _mixed(words: list[Words]) -> Words:
    """Return one word for each row: the row itself where it has one, else a mixture of all."""
    mixed = words[0]
    for word in words[1:]:
        mixed = (mixed ^ (mixed >> np.uint64(29))) * _SPREAD + word
    return mixed


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


def _distinct_words(
    columns: Sequence[NDArray[Any]], keep_N: NDArray[np.bool_], widths: list[int]
) -> NDArray[Any]:
    """Return each row that is kept once, packed into one word, ascending.

    Parts are packed and sorted on every core, then merged range by range.
    """
    dtype = np.uint32 if sum(widths) <= 32 else np.uint64

    def sorted_part(at: int) -> NDArray[Any]:
        rows = slice(at, at + _PART)
        (word,) = _packed([column[rows] for column in columns], [widths])
        return _once(word[keep_N[rows]].astype(dtype))

    parts: list[NDArray[Any]] = in_threads(sorted_part, range(0, max(len(keep_N), 1), _PART))
    ends = _range_ends(parts)

    def merged(at: int) -> NDArray[Any]:
        pieces = [part[end[at] : end[at + 1]] for part, end in zip(parts, ends, strict=True)]
        return _once(np.concatenate(pieces))

    return np.concatenate(in_threads(merged, range(len(parts))))


def _range_ends(parts: list[NDArray[Any]]) -> list[list[int]]:
    """Return for each ascending part where the ranges of values begin and end in it.

    There are as many ranges as parts, of about equally many words.
    """
    if not any(len(part) for part in parts):
        return [[0] * (len(parts) + 1)] * len(parts)
    samples = np.sort(np.concatenate([part[:: max(1, len(part) // 256)] for part in parts]))
    bounds = samples[[len(samples) * i // len(parts) for i in range(1, len(parts))]]
    return [[0, *np.searchsorted(part, bounds).tolist(), len(part)] for part in parts]


def _once(word: NDArray[Any]) -> NDArray[Any]:
    word.sort()
    differs = np.ones(len(word), bool)
    np.not_equal(word[1:], word[:-1], out=differs[1:])
    return word[differs]
