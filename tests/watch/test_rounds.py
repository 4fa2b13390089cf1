"""Acting together on subjects of one's own, and on one subject."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from potstill.stats.exact import clopper_pearson
from potstill.watch.rounds import on_their_own, shifted_log_e

SEED = 5
Ints = np.ndarray[Any, np.dtype[np.int64]]


def rounds(one_subject: bool, fixed: int = 24) -> tuple[Ints, Ints, Any]:
    """Return 40 rounds of 8 parties: whose, when, and sketches with `fixed` slots of a template."""
    rng = np.random.default_rng(SEED)
    party, when = np.tile(np.arange(8), 40), np.repeat(np.arange(40), 8)
    slots = rng.integers(0, 2**16, (320, 64)).astype(np.uint16)
    if one_subject:
        slots = slots[::8][when]
    slots[:, :fixed] = 7
    return party, when, slots


def test_work_that_is_dealt_out_is_on_subjects_of_their_own() -> None:
    assert on_their_own(*rounds(one_subject=False))


def test_a_feed_is_one_subject() -> None:
    assert not on_their_own(*rounds(one_subject=True))


def test_too_few_say_nothing() -> None:
    party, when, slots = rounds(one_subject=False)
    assert not on_their_own(party[:20], when[:20], slots[:20])
    # Nobody is there with another one.
    assert not on_their_own(party, np.arange(320), slots)


def test_the_order_of_rows_decides_nothing() -> None:
    party, when, slots = rounds(one_subject=False)
    order = np.random.default_rng(SEED).permutation(len(party))
    assert on_their_own(party[order], when[order], slots[order])


def acts(
    rng: np.random.Generator, parties: int, each: int, days: int = 5
) -> tuple[Ints, Ints, Ints]:
    """Return requests of parties that share the rhythm of days and hours, half of which have a
    timer of their own, at the full hour or at another minute, and come in bursts."""
    party = np.repeat(np.arange(parties), each)
    # Few days are busy, for all alike; some hours are.
    day = rng.choice(days, parties * each, p=np.array([8, 8, 8, 1, 1][:days]) / 26)
    hour = rng.choice(24, parties * each, p=np.repeat([1, 5], 12) / 72)
    second = rng.integers(0, 3_600, parties * each)
    timer = np.where(rng.random(parties) < 0.5, 0, rng.integers(0, 3_500, parties))[party]
    second = np.where(party % 2 == 0, timer + rng.integers(0, 20, len(party)), second)
    burst = rng.random(len(party)) < 0.3
    burst[::each] = False
    for place in np.flatnonzero(burst):
        day[place], hour[place] = day[place - 1], hour[place - 1]
        second[place] = min(second[place - 1] + 5, 3_599)
    return party, day, hour * 3_600 + second


@pytest.mark.slow
def test_strangers_with_timers_and_a_common_rhythm_keep_their_error() -> None:
    rng = np.random.default_rng(SEED)
    es = np.array([math.exp(shifted_log_e(*acts(rng, 4, 8))) for _ in range(20_000)])
    for level in (0.05, 0.01, 0.001):
        hits = int((es >= 1 / level).sum())
        assert clopper_pearson(hits, len(es), 0.999)[0] <= level


def test_rounds_show_and_timers_do_not() -> None:
    rng = np.random.default_rng(SEED)
    party, day, second = acts(rng, 12, 60)
    assert shifted_log_e(party, day, second) < math.log(20)
    begins = rng.integers(0, 86_000, (5, 20))
    dealt = begins[day, rng.integers(0, 20, len(day))] + rng.integers(0, 60, len(day))
    assert shifted_log_e(party, day, dealt) > math.log(1e6)
    # The same minute of every hour is a timer, and in every order the same.
    assert shifted_log_e(party, day, second // 3_600 * 3_600 + 754) == 0.0
