"""Looking every day accuses strangers no more often than was said (docs/methods/watch-days.md)."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import numpy as np
import pytest

pytest.importorskip("networkx", reason="campaigns are found with the extra `watch`")

from potstill.stats.evalues import betting_log_e, lifted_log_e
from potstill.stats.exact import clopper_pearson
from potstill.stats.multiple import spent_share, weighted_e_bh
from potstill.watch.clock import acts_of, synchrony_log_e
from potstill.watch.nulls import Askers, hand_off_log_e
from potstill.watch.orders import sharding_log_e

SEED = 20261130
Floats = np.ndarray[Any, np.dtype[np.float64]]
Ints = np.ndarray[Any, np.dtype[np.int64]]
# Refused requests of a day, answered ones, and how many of both together were repeated.
DAYS = ((4, 60, 8), (12, 40, 20), (3, 90, 5), (25, 25, 10), (1, 30, 9))


def keeps(log_es: Floats, levels: tuple[float, ...] = (0.05, 0.01, 0.001)) -> None:
    """An e-value reaches 1 / level with a chance of `level` at most: the 99.9% interval allows."""
    for level in levels:
        hits = int((log_es >= math.log(1 / level) - 1e-9).sum())
        assert clopper_pearson(hits, len(log_es), 0.999)[0] <= level


@cache
def of_day(day: int) -> Floats:
    """Return ln E of a day by how many of its refused requests were repeated."""
    n, m, followed = DAYS[day % len(DAYS)]
    bets = [hand_off_log_e((n, k), (m, followed - k)) for k in range(min(n, followed) + 1)]
    return np.array([0.0 if bet is None else bet.log_e for bet in bets])


def handed_over(rng: np.random.Generator, trials: int, days: int) -> Floats:
    """Return ln E of each of so many days, where refusals change nothing, as [trials, days]."""
    found = np.empty((trials, days))
    for day in range(days):
        n, m, followed = DAYS[day % len(DAYS)]
        found[:, day] = of_day(day)[rng.hypergeometric(n, m, followed, trials)]
    return found


def largest(log_e_D: Floats) -> float:
    return float(betting_log_e(log_e_D).max())


def test_hand_offs_looked_at_every_day_keep_their_error() -> None:
    found = handed_over(np.random.default_rng(SEED), 20_000, 40)
    sup = np.array([largest(one) for one in found])
    # Whoever stops at the best moment of forty: by Ville before lifting, by Markov after.
    keeps(sup)
    lifted = np.array([lifted_log_e(one) for one in sup])
    keeps(lifted)
    assert np.exp(lifted).mean() <= 1
    # What this guards against: a p-value looked at every day (E of a day is sqrt(1 / (4 p))).
    p = 0.25 * np.exp(-2 * found)
    assert (p.min(1) <= 0.05).mean() > 0.3


@pytest.mark.slow
def test_all_days_together_name_a_stranger_no_more_often_than_said() -> None:
    # Every day some are chosen; all are null, so that whoever is named at any time is false.
    rng, level, trials, days, each = np.random.default_rng(SEED), 0.2, 2_000, 12, 3
    shares = [math.log10(spent_share(1 + n // each) / each) for n in range(each * days)]
    named = 0
    for _ in range(trials):
        bets = handed_over(rng, each * days, days)
        sups = [largest(bets[number, number // each :]) for number in range(each * days)]
        log10_es = [lifted_log_e(sup) / math.log(10) for sup in sups]
        # Nothing falls and shares are fixed, so that the last day names all that any day does.
        named += any(weighted_e_bh(log10_es, shares, level))
    assert clopper_pearson(named, trials, 0.999)[0] <= level


def test_who_asks_so_one_day_asks_so_the_next_and_counts_once() -> None:
    # 15 parties drawn at random, of 200 of whom a tenth asks so, every day: no evidence of
    # anything, and the same people day by day.
    rng, trials, days = np.random.default_rng(SEED), 20_000, 30
    asks, stratum = np.zeros(200, np.int64), np.zeros(200, np.int64)
    asks[:20] = 1
    bets = np.array(
        [
            0.0 if bet is None else bet.log_e
            for bet in (
                Askers.of(stratum, asks).log_e([*range(k), *range(20, 35 - k)]) for k in range(16)
            )
        ]
    )
    once = bets[rng.hypergeometric(20, 180, 15, trials)]
    keeps(once)
    multiplied = {one: largest(np.full(days, one)) for one in np.unique(once)}
    # Multiplied over days it accuses many times as often as said: so it counts once.
    assert np.mean([multiplied[one] >= math.log(1_000) for one in once]) > 20 / 1_000


def test_links_looked_at_again_for_each_new_group_are_paid_for() -> None:
    # The same links under ten candidates, the worst dependence there is: a share of the level each.
    rng, level, trials = np.random.default_rng(SEED), 0.05, 20_000
    shares = [math.log10(spent_share(n)) for n in range(1, 11)]
    named = 0
    for _ in range(trials):
        # As large as an e-value may be: 1 / u.
        log10_e = -math.log10(rng.random())
        log10_e = lifted_log_e(log10_e * math.log(10)) / math.log(10)
        named += any(weighted_e_bh([log10_e] * 10, shares, level))
    assert clopper_pearson(named, trials, 0.999)[0] <= level


def strangers(rng: np.random.Generator, days: int, parties: int = 6, a_day: int = 6) -> Any:
    """Return requests of parties who each have subjects and hours of their own, day after day."""
    party_R = np.repeat(np.arange(parties), days * a_day)
    day_R = np.tile(np.repeat(np.arange(days), a_day), parties)
    taste_PF = rng.dirichlet(np.full(8, 2.0), parties)
    code_R = np.array([rng.choice(8, p=taste_PF[party]) for party in party_R])
    hour_R = rng.normal(rng.uniform(6, 20, parties)[party_R], 2.0)
    second_R = (np.clip(hour_R, 0, 23.99) * 3_600).astype(np.int64)
    return party_R, day_R, second_R, code_R


@pytest.mark.slow
@pytest.mark.parametrize("signal", ["slot coverage", "synchrony", "complementary load"])
def test_orders_of_blocks_of_days_keep_their_error(signal: str) -> None:
    rng, blocks, found = np.random.default_rng(SEED), 3, []
    volume = {(0, day): np.full(1_440, 5) for day in range(3 * blocks)}
    for _ in range(2_000):
        party_R, day_R, second_R, code_R = strangers(rng, 3 * blocks)
        bets = []
        for block in range(blocks):
            here = day_R // 3 == block
            if signal == "slot coverage":
                rows = np.arange(int(here.sum()))
                bet = sharding_log_e(party_R[here], day_R[here], rows, code_R[here])
            else:
                none = np.zeros(int(here.sum()), np.int64)
                load = signal == "complementary load"
                acts = acts_of(party_R[here], day_R[here], second_R[here], none, volume)
                bet = synchrony_log_e(acts, widths=(30,) if load else (1, 5), apart=load)
            bets.append(0.0 if bet is None else max(bet.log_e, -700.0))
        found.append(largest(np.array(bets)))
    keeps(np.array(found), (0.05, 0.01))
    keeps(np.array([lifted_log_e(one) for one in found]), (0.05, 0.01))
