"""Tails, intervals and Holm: against sums over every case, in whole numbers or float64."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.integrate import quad

from potstill.stats.exact import BinomialLaw, GammaLaw, clopper_pearson, holm

RATES = [Fraction(1, 2), Fraction(1, 4), Fraction(3, 8), Fraction(15, 16)]


def chances(n: int, rate: Fraction) -> list[Fraction]:
    return [math.comb(n, s) * rate**s * (1 - rate) ** (n - s) for s in range(n + 1)]


@given(n=st.integers(0, 60), rate=st.sampled_from(RATES), data=st.data())
def test_a_binomial_tail_is_the_sum_of_its_chances(
    n: int, rate: Fraction, data: st.DataObject
) -> None:
    s, coin = data.draw(st.integers(0, n)), data.draw(st.floats(0, 1))
    law, each = BinomialLaw(float(rate)), chances(n, rate)
    assert float(law.p(s, n)) == pytest.approx(float(sum(each[s:])), rel=1e-11)
    expected = float(sum(each[s + 1 :])) + coin * float(each[s])
    assert float(law.randomised_p(s, n, coin)) == pytest.approx(expected, rel=1e-11)
    assert law.log10_p(s, n) == pytest.approx(math.log10(float(sum(each[s:]))), abs=1e-10)


@pytest.mark.parametrize("n", [1, 2, 7, 12])
def test_a_binomial_p_is_exact_at_every_level_it_can_reach(n: int) -> None:
    """All 2^n texts: the chance of p <= alpha is alpha where alpha is a p, and never above."""
    sums = np.array([bin(i).count("1") for i in range(2**n)])
    p = BinomialLaw(0.5).p(sums, n)
    for level in np.unique(p):
        assert np.mean(p <= level) == pytest.approx(level)
        assert np.mean(p <= level * (1 - 1e-9)) < level


def test_a_randomised_p_is_uniform() -> None:
    n, coins = 9, (np.arange(1000) + 0.5) / 1000
    sums = np.array([bin(i).count("1") for i in range(2**n)])
    p = BinomialLaw(0.5).randomised_p(sums[:, None], n, coins[None, :]).ravel()
    assert np.abs(np.sort(p) - (np.arange(p.size) + 0.5) / p.size).max() < 2e-3


@given(n=st.integers(1, 12), total=st.floats(0, 60), shape=st.integers(1, 3))
def test_a_gamma_tail_is_the_integral_of_its_density(n: int, total: float, shape: int) -> None:
    a = n * shape

    def density(x: float) -> float:
        return math.exp(-x + (a - 1) * math.log(x) - math.lgamma(a)) if x > 0 else float(a == 1)

    expected, _ = quad(density, total, total + 150, epsabs=1e-14, epsrel=1e-10, limit=500)
    assert float(GammaLaw(shape).p(total, n)) == pytest.approx(expected, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("shape", [1, 2])
def test_a_gamma_law_is_that_of_its_sums(shape: int) -> None:
    rng = np.random.default_rng(8)
    totals = -np.log1p(-rng.random((20_000, 6 * shape))).sum(1)
    law = GammaLaw(shape)
    assert stats.kstest(law.p(totals, 6), "uniform").pvalue > 1e-3
    assert totals.mean() / 6 == pytest.approx(law.mean, rel=0.02)
    assert totals.std() / math.sqrt(6) == pytest.approx(law.spread, rel=0.02)


def test_no_scores_say_nothing() -> None:
    for law in (BinomialLaw(0.25), GammaLaw(1)):
        assert float(law.p(0, 0)) == 1
        assert law.log10_p(0, 0) == 0
        assert float(law.randomised_p(0, 0, 0.25)) == 0.25


def test_tails_below_the_smallest_float_keep_their_logarithm() -> None:
    """P(all n green) = rate^n, and the next ones in whole numbers."""
    law = BinomialLaw(0.25)
    assert law.log10_p(3_000, 3_000) == pytest.approx(3_000 * math.log10(0.25), rel=1e-12)
    whole = sum(math.comb(4_000, s) for s in range(3_500, 4_001))
    expected = math.log10(whole) - 4_000 * math.log10(2)
    assert float(BinomialLaw(0.5).p(3_500, 4_000)) == 0 or expected > -300
    assert BinomialLaw(0.5).log10_p(3_500, 4_000) == pytest.approx(expected, rel=1e-11)
    # Q(n, x) = exp(-x) sum of x^j / j!, in whole numbers of x = 2000, n = 200.
    series = sum(Fraction(2_000) ** j / math.factorial(j) for j in range(200))
    scaled = series.numerator // series.denominator
    expected = math.log10(scaled) - 2_000 / math.log(10)
    assert GammaLaw(1).log10_p(2_000.0, 200) == pytest.approx(expected, rel=1e-11)
    assert float(GammaLaw(1).p(2_000.0, 200)) == 0


@given(n=st.integers(200, 3_000), rate=st.sampled_from([0.25, 0.5]), share=st.floats(0.55, 1.0))
def test_both_ways_to_a_logarithm_meet(n: int, rate: float, share: float) -> None:
    total = math.floor(n * share)
    direct = float(BinomialLaw(rate).p(total, n))
    if direct > 1e-280:
        assert BinomialLaw(rate).log10_p(total, n) == pytest.approx(math.log10(direct), rel=1e-9)
    whole = Fraction(rate)
    exact = sum(
        math.comb(n, s) * whole**s * (1 - whole) ** (n - s)
        for s in range(total, min(n, total + 400) + 1)
    )
    logarithm = (math.log(exact.numerator) - math.log(exact.denominator)) / math.log(10)
    assert BinomialLaw(rate).log10_p(total, n) == pytest.approx(logarithm, rel=1e-8, abs=1e-8)


def test_arrays_are_taken_element_by_element() -> None:
    law = BinomialLaw(0.5)
    found = law.p(np.array([0, 3, 5]), np.array([1, 5, 5]))
    assert found.tolist() == [float(law.p(s, n)) for s, n in ((0, 1), (3, 5), (5, 5))]
    gamma = GammaLaw(1).p(np.array([0.0, 2.0]), np.array([0, 3]))
    assert gamma.tolist() == [1.0, float(GammaLaw(1).p(2.0, 3))]


@pytest.mark.parametrize("rate", [0.0, 1.0, -1.0, math.nan])
def test_a_rate_is_a_chance(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        BinomialLaw(rate)


def test_a_shape_is_a_whole_number() -> None:
    with pytest.raises(ValueError, match="shape"):
        GammaLaw(0)


@given(n=st.integers(1, 200), confidence=st.sampled_from([0.9, 0.95, 0.999]), data=st.data())
def test_clopper_and_pearson_s_ends_are_where_the_tails_are_half_of_alpha(
    n: int, confidence: float, data: st.DataObject
) -> None:
    s = data.draw(st.integers(0, n))
    lower, upper = clopper_pearson(s, n, confidence)
    side = (1 - confidence) / 2
    assert 0 <= lower <= s / n <= upper <= 1
    assert lower == 0 if s == 0 else stats.binom.sf(s - 1, n, lower) == pytest.approx(side)
    assert upper == 1 if s == n else stats.binom.cdf(s, n, upper) == pytest.approx(side)


@pytest.mark.parametrize("chance", [0.05, 0.3, 0.5])
def test_it_covers_at_least_as_often_as_it_says(chance: float) -> None:
    n = 40
    each = stats.binom.pmf(np.arange(n + 1), n, chance)
    inside = [lo <= chance <= hi for lo, hi in (clopper_pearson(s, n, 0.95) for s in range(n + 1))]
    assert each[np.array(inside)].sum() >= 0.95


@pytest.mark.parametrize(
    ("s", "n", "confidence"), [(-1, 3, 0.9), (4, 3, 0.9), (0, 0, 0.9), (1, 3, 1)]
)
def test_impossible_counts_are_refused(s: int, n: int, confidence: float) -> None:
    with pytest.raises(ValueError, match="successes"):
        clopper_pearson(s, n, confidence)


def closed(p_values: list[float]) -> list[float]:
    """Holm's procedure as closed testing: the worst Bonferroni p over all sets that hold a test."""
    count = len(p_values)
    sets = [[i for i in range(count) if bits >> i & 1] for bits in range(1, 2**count)]
    worst = [(set(s), min(1.0, len(s) * min(p_values[i] for i in s))) for s in sets]
    return [max(p for members, p in worst if i in members) for i in range(count)]


@given(st.lists(st.floats(0, 1), max_size=7))
def test_holm_is_closed_testing(p_values: list[float]) -> None:
    assert holm(p_values) == pytest.approx(closed(p_values))


def test_holm_knows_no_order() -> None:
    for p_values in permutations([0.01, 0.02, 0.02, 0.6]):
        adjusted = dict(zip(p_values, holm(list(p_values)), strict=True))
        assert adjusted == {0.01: 0.04, 0.02: 0.06, 0.6: 0.6}


def test_holm_takes_chances() -> None:
    with pytest.raises(ValueError, match="p-values"):
        holm([0.5, 1.5])
