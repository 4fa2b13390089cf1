"""Sums of ranks: against counts of every case in whole numbers."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from potstill.stats.exact import BinomialLaw
from potstill.stats.ranks import RankSumLaw, rank_among


def counts(others: tuple[int, ...]) -> list[int]:
    """Return in how many ways each sum comes about, one rank after another in whole numbers."""
    found = [1]
    for m in others:
        longer = [0] * (len(found) + m)
        for total, ways in enumerate(found):
            for rank in range(m + 1):
                longer[total + rank] += ways
        found = longer
    return found


def log10_of(share: Fraction) -> float:
    return (math.log(share.numerator) - math.log(share.denominator)) / math.log(10)


@given(others=st.lists(st.integers(1, 9), max_size=12).map(tuple), data=st.data())
def test_a_tail_is_the_share_of_its_cases(others: tuple[int, ...], data: st.DataObject) -> None:
    ways = counts(others)
    total, coin = data.draw(st.integers(0, sum(others))), data.draw(st.floats(0, 1))
    law, cases = RankSumLaw(others), sum(ways)
    tail = Fraction(sum(ways[total:]), cases)
    assert law.p(total) == pytest.approx(float(tail), rel=1e-11)
    assert law.log10_p(total) == pytest.approx(log10_of(tail), abs=1e-10)
    expected = float(Fraction(sum(ways[total + 1 :]), cases)) + coin * ways[total] / cases
    assert float(law.randomised_p(total, coin)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "others", [(9,) * 120, (1,) * 400, (3, 9, 4) * 40, (99,) * 12, (1, 60) * 10]
)
def test_every_tail_keeps_its_digits_down_to_the_last(others: tuple[int, ...]) -> None:
    """Down to 1e-120 and below, where whole numbers say what the logarithm is."""
    ways, law = counts(others), RankSumLaw(others)
    cases, tail = sum(ways), 0
    for total in range(len(ways) - 1, -1, -1):
        tail += ways[total]
        assert law.log10_p(total) == pytest.approx(log10_of(Fraction(tail, cases)), abs=1e-9)
    assert law.log10_p(law.most) == pytest.approx(-log10_of(Fraction(cases)), rel=1e-12)


def test_ranks_among_one_other_are_coins() -> None:
    for n, total in ((50, 41), (2_000, 1_300), (2_000, 1_990)):
        expected = BinomialLaw(0.5).log10_p(total, n)
        assert RankSumLaw((1,) * n).log10_p(total) == pytest.approx(expected, rel=1e-9)


def test_a_tail_below_every_float_has_a_logarithm() -> None:
    law = RankSumLaw((9,) * 2_000)
    assert law.p(17_999) == 0
    # All ranks highest, or all but one that is one lower.
    assert law.log10_p(17_999) == pytest.approx(math.log10(2_001) - 2_000, rel=1e-12)


def test_sums_out_of_reach_are_certain_or_impossible() -> None:
    law = RankSumLaw((2, 3))
    assert law.log10_p(0) == law.log10_p(-4) == 0
    assert law.p(1) < 1
    assert law.log10_p(6) == -math.inf
    assert law.p(6) == 0


def test_no_ranks_say_nothing() -> None:
    law = RankSumLaw(())
    assert (law.mean, law.spread, law.p(0), law.log10_p(0)) == (0, 0, 1, 0)
    assert float(law.randomised_p(0, 0.25)) == 0.25


@given(others=st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple))
def test_mean_and_spread_are_those_of_all_cases(others: tuple[int, ...]) -> None:
    sums = [sum(ranks) for ranks in product(*(range(m + 1) for m in others))]
    law = RankSumLaw(others)
    assert law.mean == pytest.approx(np.mean(sums))
    assert law.spread == pytest.approx(np.std(sums))


def test_a_rank_is_among_others() -> None:
    with pytest.raises(ValueError, match="among one other"):
        RankSumLaw((3, 0))


@pytest.mark.parametrize("scores", [(0.0, 1.0, 2.0), (1.0, 1.0, 2.0), (1.0, 1.0, 1.0, 0.5)])
def test_each_rank_comes_as_often_over_places_and_coins(scores: tuple[float, ...]) -> None:
    """Whichever of equal ones was served, every rank has the same share of coins."""
    coins, found = 60, np.zeros(len(scores))
    for at, coin in product(range(len(scores)), (np.arange(coins) + 0.5) / coins):
        others = [s for i, s in enumerate(scores) if i != at]
        found[rank_among(scores[at], others, float(coin))] += 1
    assert found.tolist() == [coins] * len(scores)


def test_shuffled_ranks_give_uniform_p_values() -> None:
    """20,000 trials of 30 prompts with 1, 4 or 9 twins."""
    rng = np.random.default_rng(2027)
    others = (1, 4, 9) * 10
    totals = rng.integers(0, np.array(others) + 1, (20_000, 30)).sum(1)
    p = RankSumLaw(others).randomised_p(totals, rng.random(20_000))
    assert stats.kstest(p, "uniform").pvalue > 0.01
