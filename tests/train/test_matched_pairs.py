"""Which blocks stand for which."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.recipe import HiddenMatchingConfig, TrainConfig
from potstill.train.matched_pairs import depths_of, matched_pairs


def pairs(layers: Any, student: int, teacher: int, dropped: Any, frozen: int = 0) -> list[str]:
    chosen = HiddenMatchingConfig.model_validate({"layers": layers})
    config = TrainConfig(hidden_matching=chosen, frozen_blocks=frozen)
    return [str(pair) for pair in matched_pairs(config, student, teacher, dropped)]


def test_a_block_before_a_gap_stands_for_what_is_gone() -> None:
    assert depths_of(4, 6, (2, 3)) == [0, 3, 4, 5]
    assert depths_of(4, 6, (0, 5)) == [1, 2, 3, 5]
    assert depths_of(6, 6, ()) == list(range(6))
    with pytest.raises(ValueError, match="was not cut"):
        depths_of(5, 6, (2, 3))


@given(st.integers(1, 40), st.integers(1, 40))
def test_other_students_are_spread_evenly_and_end_together(student: int, teacher: int) -> None:
    found = depths_of(student, teacher, None)
    assert found[-1] == teacher - 1 and found == sorted(found) and found[0] >= 0
    if teacher % student == 0:
        every = teacher // student
        assert found == list(range(every - 1, teacher, every))


def test_layers_are_named_by_word_or_by_pair() -> None:
    assert pairs("last", 0, 0, None) == ["last"]
    assert pairs("blocks", 4, 6, (2, 3)) == ["0-0", "1-3", "2-4", "last"]
    assert pairs("blocks", 4, 6, (2, 3), frozen=2) == ["2-4", "last"]
    assert pairs("blocks", 3, 6, None) == ["0-1", "1-3", "last"]
    assert pairs([[3, 5], "last", [0, 1]], 4, 6, None) == ["3-5", "last", "0-1"]
