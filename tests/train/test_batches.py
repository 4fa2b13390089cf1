"""No cut into micro-batches changes what a step holds; the learning rate's schedule."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.recipe import TrainConfig
from potstill.train.batches import micro_batches
from potstill.train.schedule import learning_rate

lengths = st.lists(st.integers(1, 60), min_size=1, max_size=120)


@given(lengths, st.integers(1, 300), st.sampled_from([0, 20, 60, 100]))
def test_micro_batches_hold_the_step_and_keep_to_the_budget(
    sizes: list[int], budget: int, row_tokens: int
) -> None:
    step = list(range(len(sizes)))
    parts = micro_batches(step, sizes, budget, row_tokens)
    assert sorted(i for part in parts for row in part for i in row) == step
    for part in parts:
        widths = [sum(sizes[i] for i in row) for row in part]
        assert max(widths) * len(part) <= budget or len(part) == 1
        for row, width in zip(part, widths, strict=True):
            assert width <= row_tokens or len(row) == 1


@given(lengths)
def test_rows_are_filled(sizes: list[int]) -> None:
    parts = micro_batches(list(range(len(sizes))), sizes, 10**6, 100)
    widths = sorted(sum(sizes[i] for i in row) for part in parts for row in part)
    # Two rows of which either could take the other's examples would be one too many.
    assert all(one + other > 100 for one, other in itertools.pairwise(widths))


def test_the_rate_warms_up_and_comes_down() -> None:
    config = TrainConfig(learning_rate=1.0, warmup=0.1, final_learning_rate=0.1)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0.1 < rates[-1] < 0.11
