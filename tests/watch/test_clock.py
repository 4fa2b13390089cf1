"""Who acts together: of one day, of those who ask little, and where nobody does."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from potstill.watch.clock import Acts, acting_together, acts_of, synchrony_log_e

SEED = 20261130
Ints = np.ndarray[Any, np.dtype[np.int64]]
EVEN = {(0, d): np.full(1_440, 10) for d in range(7)}


def made(rng: np.random.Generator, *, together: int, alone: int, days: int, each: int) -> Acts:
    """Return `each` requests a day of parties that start with a few common moments an hour, and of
    others that act for themselves; the former have the lower codes."""
    rows = []
    ticks = rng.integers(0, 60, (days, 24, 2))
    for who in range(together + alone):
        for day in range(days):
            hour = rng.integers(8, 20, each)
            minute = rng.integers(0, 60, each)
            if who < together:
                minute = ticks[day, hour, rng.integers(0, 2, each)]
            second = hour * 3_600 + minute * 60 + rng.integers(0, 60, each)
            rows.append((np.full(each, who), np.full(each, day), second))
    party, day_R, second_R = (np.concatenate(one) for one in zip(*rows, strict=True))
    return acts_of(party, day_R, second_R, np.zeros_like(party), EVEN)


def test_common_moments_of_one_day_are_seen() -> None:
    rng = np.random.default_rng(SEED)
    found = synchrony_log_e(made(rng, together=12, alone=0, days=1, each=20))
    assert found is not None and found.log_e > math.log(1e4)
    assert synchrony_log_e(made(rng, together=1, alone=0, days=1, each=20)) is None
    # To avoid one another by a day's clock alone is nothing that could be tested.
    assert synchrony_log_e(made(rng, together=9, alone=0, days=1, each=9), apart=True) is None


@pytest.mark.slow
def test_who_acts_for_himself_is_no_company_on_one_day() -> None:
    rng = np.random.default_rng(SEED)
    high = 0
    for _ in range(400):
        found = synchrony_log_e(made(rng, together=0, alone=10, days=1, each=12))
        high += found is not None and found.log_e >= math.log(20)
    # Markov: one in twenty at most; 99.9% of such counts are below 35.
    assert high < 35


def test_those_who_ask_little_are_told_in_a_group_in_which_all_act_together() -> None:
    acts = made(np.random.default_rng(SEED), together=60, alone=6, days=1, each=4)
    found = acting_together(acts)
    assert len([who for who in found if who < 60]) >= 50
    assert len([who for who in found if who >= 60]) <= 2


def test_nobody_is_told_where_nobody_acts_together() -> None:
    rng, told = np.random.default_rng(SEED), 0
    for _ in range(20):
        told += len(acting_together(made(rng, together=0, alone=40, days=2, each=8)))
    assert told <= 8


def test_a_timer_is_no_company() -> None:
    """Three clients with one timer, always at the same minute, among others: in another order of
    their hours they are as much in one another's minutes."""
    rng = np.random.default_rng(SEED)
    rows = []
    for who in range(30):
        for day in range(7):
            hour = rng.choice(np.arange(24), 10, replace=False)
            minute = np.full(10, 23) if who < 3 else rng.integers(0, 60, 10)
            second = hour * 3_600 + minute * 60 + rng.integers(0, 60, 10)
            rows.append((np.full(10, who), np.full(10, day), second))
    party, day_R, second_R = (np.concatenate(one) for one in zip(*rows, strict=True))
    acts = acts_of(party, day_R, second_R, np.zeros_like(party), EVEN)
    assert not set(acting_together(acts)) & {0, 1, 2}
