"""A function of many rows, done in blocks that stay in a core's cache, on every core."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Rows in a block: ten words a row stay in a core's own cache, and one operation on them takes
# long enough for another thread to get on meanwhile (tried: 4,096 to 65,536).
_ROWS = 32_768
# Rows that a thread takes at a time.
_MANY = 4 * _ROWS


def over_blocks(
    function: Callable[[tuple[NDArray[Any], ...]], NDArray[Any]],
    columns: Sequence[NDArray[Any]],
    dtype: np.dtype[Any],
) -> NDArray[Any]:
    """Return `function` of the columns (arrays of N), as an array of N of the given type.

    The function is given slices of every column, and is called from several threads at once.
    """
    count = len(columns[0])
    if count <= _ROWS:
        return np.asarray(function(tuple(columns)), dtype=dtype)
    out = np.empty(count, dtype)

    def fill(first: int) -> None:
        for start in range(first, min(first + _MANY, count), _ROWS):
            rows = slice(start, min(start + _ROWS, first + _MANY))
            out[rows] = function(tuple(column[rows] for column in columns))

    firsts = range(0, count, _MANY)
    if count <= _MANY:
        fill(0)
    else:
        in_threads(fill, firsts)
    return out


def in_threads(work: Callable[[int], Any], items: Sequence[int]) -> list[Any]:
    """Return the results of `work` in the order of `items`, done on all cores.

    For functions that spend their time in numpy, which lets other threads go on.
    """
    cores = _cores()
    if cores == 1 or len(items) == 1:
        return [work(item) for item in items]
    with ThreadPoolExecutor(cores) as pool:
        return list(pool.map(work, items))


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
