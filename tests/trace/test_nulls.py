"""The simulation of the nulls, in small: benchmarks/trace_null.py runs it with all its trials."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from potstill.stats.exact import clopper_pearson

_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def nulls(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(sys, "path", [str(_BENCHMARKS), *sys.path])
    return importlib.import_module("trace_null")


@pytest.mark.parametrize("number", [0, 1])
def test_clean_readers_of_marked_text_are_not_accused_but_by_the_wrong_way(
    nulls: Any, number: int
) -> None:
    """60 keys, each with text marked anew; one reader copies what it has read."""
    *right, sequential, wrong = nulls.reading_rows(nulls.SCHEMES[number], 60)
    for row in right:
        low, high = clopper_pearson(int((np.array(row.p) <= 0.1).sum()), 60, 0.9999)
        assert low <= 0.1 <= high, row.who
    assert np.mean(np.array(sequential.p) <= 0.1) < 0.3
    assert clopper_pearson(int((np.array(wrong.p) <= 0.01).sum()), 60, 0.99)[0] > 0.02


def test_shuffled_twins_are_not_accused_but_by_the_wrong_way(nulls: Any) -> None:
    """With four twins: where a twin equal to the served answer drops a prompt, rank falls."""
    rows = {(row.test, row.who): np.array(row.p) for row in nulls.twins_rows(300)}
    low, high = clopper_pearson(int((rows["twins", "4 twins"] <= 0.05).sum()), 300, 0.9999)
    assert low <= 0.05 <= high
    dropped = {who: p for (test, who), p in rows.items() if test.startswith("wrong: the same")}
    assert np.mean(dropped["4 twins"] <= 0.05) > 0.2
