"""Evidence of order keeps its error where parties act each for itself, and else grows."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from potstill.stats.exact import clopper_pearson
from potstill.watch.clock import acts_of, synchrony_log_e
from potstill.watch.orders import sharding_log_e, together_log_e

SEED = 20261130
Ints = np.ndarray[Any, np.dtype[np.int64]]


def keeps(es: list[float]) -> None:
    """An e-value reaches 20 in one trial of twenty at most (Markov): the 99.9% interval allows."""
    hits = sum(e >= 20 for e in es)
    assert clopper_pearson(hits, len(es), 0.999)[0] <= 1 / 20


@pytest.mark.parametrize("bets", [(0.5,), (0.5, 1.0, 2.0, 4.0)])
def test_the_product_over_parties_averages_one_whatever_scores_hang_on(
    bets: tuple[float, ...],
) -> None:
    # Three parties of three orders; scores hang on what all before were seen in.
    table = {
        seen: np.random.default_rng([SEED, *seen]).normal(size=3)
        for n in range(3)
        for seen in itertools.product(range(3), repeat=n)
    }
    found = []
    for seen in itertools.product(range(3), repeat=3):
        # The order observed comes first.
        scores = [np.roll(table[seen[:n]], -seen[n]) for n in range(3)]
        found.append(math.exp(together_log_e(scores, bets)))
    assert np.mean(found) == pytest.approx(1)
    assert max(found) > 2


def work(rng: np.random.Generator, kind: str, days: int = 5) -> tuple[Ints, Ints, Ints, Ints]:
    """Return requests of 8 parties over some days, and one mark of 20 that each carries."""
    party, day, mark = [], [], []
    for d in range(days):
        n = rng.poisson(12, 8)
        who = np.repeat(np.arange(8), n)
        if kind == "few days":
            # Two hackathons of two days each: who is at one is there on no other day.
            who = np.repeat(np.arange(8), rng.poisson(60, 8))
            who = who[(who < 4) == (d < 2)] if d != 2 else who[:0]
            marks = rng.integers(0, 60, len(who))
        elif kind == "dealt":
            marks = rng.permutation(np.arange(len(who)) % 20)
        elif kind == "even alone":
            marks = np.concatenate([np.arange(one) % 20 for one in n])
        elif kind == "two days":
            keep = d < 2
            who = who[: len(who) * keep]
            marks = rng.integers(0, 20, len(who))
        else:
            marks = rng.zipf(1.6, len(who)) % 20
        party.append(who)
        day.append(np.full(len(who), d))
        mark.append(marks)
    party_R, day_R, mark_R = map(np.concatenate, (party, day, mark))
    return party_R, day_R, np.arange(len(party_R)), mark_R


@pytest.mark.parametrize(
    ("kind", "days"),
    [("at random", 5), ("at random", 9), ("even alone", 7), ("few days", 5), ("two days", 5)],
)
@pytest.mark.slow
def test_parties_that_act_each_for_itself_share_no_work(kind: str, days: int) -> None:
    rng = np.random.default_rng(SEED)
    found = []
    for _ in range(300):
        evidence = sharding_log_e(*work(rng, kind, days))
        assert evidence is not None
        found.append(math.exp(evidence.log_e))
    keeps(found)


def test_a_list_that_is_dealt_out_is_seen() -> None:
    evidence = sharding_log_e(*work(np.random.default_rng(SEED), "dealt"))
    assert evidence is not None and evidence.log_e > math.log(1e4)
    assert evidence.observed > 2 * evidence.expected
    # Two blocks of days and more are worth what no number of shuffles of one is.
    longer = sharding_log_e(*work(np.random.default_rng(SEED), "dealt", 9))
    assert longer is not None and longer.log_e > math.log(1e8)
    party_R, day_R, row_M, mark_M = work(np.random.default_rng(SEED), "dealt")
    assert sharding_log_e(party_R, np.zeros_like(day_R), row_M, mark_M) is None
    assert sharding_log_e(np.zeros_like(party_R), day_R, row_M, mark_M) is None


def test_the_order_of_rows_decides_no_figure() -> None:
    rng = np.random.default_rng(SEED)
    party_R, day_R, row_M, mark_M = work(rng, "at random")
    order = rng.permutation(len(party_R))
    again = sharding_log_e(party_R[order], day_R[order], row_M, mark_M[order])
    assert again == sharding_log_e(party_R, day_R, row_M, mark_M)
    volume = {(0, d): np.full(1_440, 10) for d in range(7)}
    found = acts(rng, "ticks")
    order = rng.permutation(len(found[0]))
    mixed = [column[order] for column in found]
    assert synchrony_log_e(acts_of(*mixed, volume)) == synchrony_log_e(acts_of(*found, volume))


def acts(rng: np.random.Generator, kind: str) -> tuple[Ints, Ints, Ints, Ints]:
    """Return requests of 10 parties over 7 days with one product, most in the afternoon."""
    party, day, second = [], [], []
    ticks = rng.integers(0, 86_400, (7, 12))
    for who in range(10):
        for d in range(7):
            n = int(rng.poisson(20))
            at = (54_000 + 9_000 * rng.standard_normal(n)) % 86_400
            if kind == "ticks":
                at = (rng.choice(ticks[d], n) + rng.exponential(30, n)) % 86_400
            elif kind == "hourly":
                at = at // 3_600 * 3_600 + rng.random(n) * 20
            party.append(np.full(n, who))
            day.append(np.full(n, d))
            second.append(at.astype(np.int64))
    party_R = np.concatenate(party)
    return party_R, np.concatenate(day), np.concatenate(second), np.zeros_like(party_R)


@pytest.mark.slow
def test_a_shared_rhythm_is_no_synchrony_and_common_moments_are() -> None:
    rng = np.random.default_rng(SEED)
    volume = {(0, d): np.full(1_440, 10) for d in range(7)}
    for kind in ("afternoon", "hourly"):
        found = []
        for _ in range(150):
            evidence = synchrony_log_e(acts_of(*acts(rng, kind), volume))
            assert evidence is not None
            found.append(math.exp(evidence.log_e))
        keeps(found)
    evidence = synchrony_log_e(acts_of(*acts(rng, "ticks"), volume))
    assert evidence is not None and evidence.log_e > math.log(1e6)
    assert evidence.observed > evidence.expected
