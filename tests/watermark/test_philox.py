"""Philox4x32-10 against its authors' known answers, and against plain Python."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from philox_oracle import plain

from potstill.watermark.philox import philox4x32

WORDS = st.integers(0, 2**32 - 1)

# Random123's kat_vectors (philox4x32, 10 rounds): four counter words, two key words, four answers.
KNOWN = [
    "00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8",
    "ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd",
    "243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1",
]


def words(values: list[int]) -> list[np.ndarray]:
    return [np.array([value], np.uint32) for value in values]


@pytest.mark.parametrize("line", KNOWN)
def test_known_answers(line: str) -> None:
    values = [int(word, 16) for word in line.split()]
    found = philox4x32(tuple(words(values[:4])), tuple(words(values[4:6])))
    assert [int(word[0]) for word in found] == values[6:]
    assert plain(values[:4], values[4:6]) == values[6:]


@given(st.lists(st.tuples(*[WORDS] * 6), min_size=1, max_size=20))
def test_equals_plain_python(rows: list[tuple[int, ...]]) -> None:
    columns = [np.array(column, np.uint32) for column in zip(*rows, strict=True)]
    found = philox4x32(tuple(columns[:4]), tuple(columns[4:]))
    assert [list(row) for row in zip(*(word.tolist() for word in found), strict=True)] == [
        plain(list(row[:4]), list(row[4:])) for row in rows
    ]


def test_blocks_and_broadcasting_change_nothing() -> None:
    """More elements than are worked on at once, one key for all of them."""
    n = 20_000
    first = np.arange(n, dtype=np.uint32)
    zero = np.zeros((), np.uint32)
    key = (np.uint32(7), np.uint32(9))
    found = philox4x32((first, zero, zero, zero), key)
    assert all(word.shape == (n,) and word.dtype == np.uint32 for word in found)
    for at in (0, 8191, 8192, n - 1):
        assert [int(word[at]) for word in found] == plain([at, 0, 0, 0], [7, 9])
