"""Distinct rows: against Python's sets, at every width, and where the short form says nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.watermark import distinct
from potstill.watermark.distinct import distinct_rows, groups_of

LARGEST = [1, 3, 255, 49_151, 2**32 - 1, 2**63, 2**64 - 1]


def drawn_columns(data: st.DataObject) -> list[np.ndarray]:
    """A few values each, so that many rows are equal; none, small and whole words of bits."""
    count = data.draw(st.integers(0, 60))
    columns = []
    for largest in data.draw(st.lists(st.sampled_from(LARGEST), min_size=1, max_size=5)):
        values = st.sampled_from([0, 1, largest // 2, largest])
        column = data.draw(st.lists(values, min_size=count, max_size=count))
        columns.append(np.array(column, dtype=np.uint64))
    return columns


def tuples(columns: list[np.ndarray]) -> list[tuple[int, ...]]:
    return list(zip(*(column.tolist() for column in columns), strict=True))


@given(data=st.data())
def test_each_row_comes_once(data: st.DataObject) -> None:
    columns = drawn_columns(data)
    keep = np.array(data.draw(st.lists(st.booleans(), min_size=len(columns[0]), max_size=60)), bool)
    keep = keep[: len(columns[0])]
    found = tuples(list(distinct_rows(columns, keep)))
    assert len(set(found)) == len(found)
    assert set(found) == {row for row, kept in zip(tuples(columns), keep, strict=True) if kept}


@given(data=st.data())
def test_groups_are_of_equal_rows(data: st.DataObject) -> None:
    columns = drawn_columns(data)
    rows = tuples(columns)
    group, first = groups_of(columns)
    assert len(set(rows)) == len(first)
    for i, row in enumerate(rows):
        assert rows[first[group[i]]] == row
        assert first[group[i]] == rows.index(row)


def test_rows_that_share_their_short_form_are_still_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mixture that is the same for all rows: only the rows themselves decide."""
    monkeypatch.setattr(distinct, "_mixed", lambda words: np.zeros_like(words[0]))
    rng = np.random.default_rng(1)
    columns = list(rng.integers(0, 3, (3, 500), dtype=np.uint64) << np.uint64(61))
    group, first = groups_of(columns)
    assert len(first) == len(set(tuples(columns)))
    found = tuples(list(distinct_rows(columns, np.ones(500, bool))))
    assert sorted(found) == sorted(set(tuples(columns)))
    rows = tuples(columns)
    assert [rows[first[g]] for g in group] == rows


@pytest.mark.parametrize("largest", [4, 300])
def test_rows_of_which_some_share_their_short_form_keep_an_order_of_their_own(
    largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A mixture of the first column alone: parts of one mixture, and runs of equal rows in them."""
    monkeypatch.setattr(distinct, "_mixed", lambda words: words[0] << np.uint64(50))
    monkeypatch.setattr(distinct, "_PART", 700)
    rng = np.random.default_rng(4)
    rows = rng.integers(0, largest, (3, 2_000), dtype=np.uint64)
    rows[1:] += np.uint64(2**40)
    columns = list(rows)
    group, first = groups_of(columns)
    whole = tuples(columns)
    assert [whole[first[g]] for g in group] == whole
    assert [whole.index(whole[f]) for f in first] == first.tolist()
    again = [np.concatenate([column[::-1], column[:300]]) for column in columns]
    one = tuples(list(distinct_rows(columns, np.ones(2_000, bool))))
    other = tuples(list(distinct_rows(again, np.ones(2_300, bool))))
    assert sorted(one) == sorted(set(whole))
    assert one == other


@pytest.mark.parametrize("seed", [5, 6])
def test_mixtures_of_texts_are_hardly_ever_shared(seed: int) -> None:
    """Windows that differ in one token, the last or any other, lie apart: else sorting is slow."""
    rng = np.random.default_rng(seed)
    rows = np.tile(rng.integers(0, 49_152, (5, 1)), 50_000)
    at = np.arange(50_000) % 5
    rows[at, np.arange(50_000)] = np.arange(50_000) // 5
    widths = [16] * 5
    words = distinct._packed(list(rows), distinct._parts(widths))
    upper = distinct._mixed(words) >> np.uint64(22)
    assert len(np.unique(upper)) >= len(set(tuples(list(rows)))) - 2


@pytest.mark.parametrize("largest", [30, 49_152, 2**31])
def test_parts_that_are_merged_leave_nothing_twice(
    largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(distinct, "_PART", 1_000)
    rng = np.random.default_rng(2)
    columns = [rng.integers(0, largest, 20_500), rng.integers(0, 40, 20_500)]
    assert len(distinct_rows(columns, np.zeros(20_500, bool))[0]) == 0
    keep = rng.random(20_500) < 0.9
    expected = sorted({row for row, kept in zip(tuples(columns), keep, strict=True) if kept})
    assert tuples(list(distinct_rows(columns, keep))) == expected


@pytest.mark.parametrize("columns", [2, 5])
def test_the_order_of_rows_changes_nothing(columns: int) -> None:
    rng = np.random.default_rng(3)
    rows = rng.integers(0, 2**17, (columns, 3_000))
    shuffled = rows[:, np.concatenate([rng.permutation(3_000), np.arange(100)])]
    one = distinct_rows(list(rows), np.ones(3_000, bool))
    other = distinct_rows(list(shuffled), np.ones(3_100, bool))
    assert [c.tolist() for c in one] == [c.tolist() for c in other]
