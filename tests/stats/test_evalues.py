"""E-values: their means over every case, and their mixtures against integrals."""

from __future__ import annotations

import math
from itertools import pairwise, permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import binom, gamma

from potstill.stats.evalues import (
    STEEPNESSES,
    average_log_e,
    betting_log_e,
    learnt_log_e,
    lifted_log_e,
    mixture_log_e,
    rank_log_e,
    running_log_e,
    sequential_log10_p,
    softmax_log_e,
)
from potstill.stats.exact import BinomialLaw, GammaLaw


def green_ratio(rate: float, q: float, s: int, n: int) -> float:
    """Return the likelihood ratio of a green rate q."""
    return (q / rate) ** s * ((1 - q) / (1 - rate)) ** (n - s)


@given(n=st.integers(0, 80), rate=st.sampled_from([0.25, 0.5, 0.9]), data=st.data())
def test_the_green_mixture_is_an_average_over_rates(
    n: int, rate: float, data: st.DataObject
) -> None:
    s = data.draw(st.integers(0, n))
    whole, _ = quad(lambda q: green_ratio(rate, q, s, n), rate, 1, epsabs=0, limit=300)
    found = mixture_log_e(BinomialLaw(rate), s, n)
    assert found == pytest.approx(math.log(whole / (1 - rate)), abs=1e-8)


@given(n=st.integers(0, 60), total=st.floats(0, 120), shape=st.integers(1, 2))
def test_the_gumbel_mixture_is_an_average_over_tilts(n: int, total: float, shape: int) -> None:
    def ratio(t: float) -> float:
        return float((1 - t) ** (shape * n) * math.exp(t * total))

    whole, _ = quad(ratio, 0, 1, epsabs=0, limit=300)
    assert mixture_log_e(GammaLaw(shape), total, n) == pytest.approx(math.log(whole), abs=1e-8)


@pytest.mark.parametrize("rate", [0.25, 0.5])
@pytest.mark.parametrize("n", [1, 7, 300])
def test_green_e_values_average_one(n: int, rate: float) -> None:
    s = np.arange(n + 1)
    found = logsumexp(mixture_log_e(BinomialLaw(rate), s, n) + binom.logpmf(s, n, rate))
    assert found == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("n", [1, 5])
def test_gumbel_e_values_average_one(n: int) -> None:
    """The mean has a heavy tail: E[E; X > b] is what is left over, which falls as 1 / b."""

    def term(x: float) -> float:
        return float(np.exp(mixture_log_e(GammaLaw(1), x, n)[0] + gamma.logpdf(x, n)))

    inside = sum(
        quad(term, a, b, epsabs=0, limit=300)[0] for a, b in [(0, 10), (10, 1e3), (1e3, 1e6)]
    )
    # Of the tilted law with rate 1 - t the mass above b, averaged over t in (0, 1).
    above = quad(lambda rate: float(gamma.sf(1e6 * rate, n)), 0, 1e-3, points=[1e-6, 1e-5])[0]
    assert inside + above == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("law", "step"), [(BinomialLaw(0.3), (0.3, 0.7)), (BinomialLaw(0.5), (0.5, 0.5))]
)
def test_each_step_is_a_fair_bet(law: BinomialLaw, step: tuple[float, float]) -> None:
    """E[E after one more | s of n] = E now: a martingale, so that one may stop at any time."""
    for n in (0, 3, 40):
        for s in range(n + 1):
            more = mixture_log_e(law, [s + 1, s], n + 1)
            now = float(mixture_log_e(law, s, n)[0])
            assert logsumexp(more, b=step) == pytest.approx(now, abs=1e-10)


def test_far_tails_keep_their_digits() -> None:
    """Where the incomplete integrals are below every float64, on both sides of the mean."""
    e = mixture_log_e(BinomialLaw(0.5), [0, 3_000], 3_000)
    # At s = 0: the integral of (1 - q)^n over (1/2, 1) is 2^-(n + 1) / (n + 1).
    assert e[0] == pytest.approx(-math.log(3_001), rel=1e-9)
    assert e[1] == pytest.approx(3_001 * math.log(2) - math.log(3_001), rel=1e-12)
    found = mixture_log_e(GammaLaw(1), [0.0, 1e-3, 9e5], [4_000, 4_000, 4_000])
    assert found[0] == pytest.approx(-math.log(4_001))
    assert found[1] == pytest.approx(-math.log(4_001) + 1e-3 / 4_002, rel=1e-12)
    whole = math.lgamma(4_001) + 9e5 - 4_001 * math.log(9e5)
    assert found[2] == pytest.approx(whole, rel=1e-12)


def test_a_running_e_value_is_that_of_each_beginning() -> None:
    rng = np.random.default_rng(5)
    for law, scores in ((BinomialLaw(0.25), rng.random(50) < 0.5), (GammaLaw(2), rng.random(50))):
        running = running_log_e(law, scores.astype(float))
        each = [float(mixture_log_e(law, scores[:t].sum(), t)[0]) for t in range(1, 51)]
        assert running == pytest.approx(each, abs=1e-10)


def test_a_sequential_p_is_one_over_the_largest() -> None:
    assert sequential_log10_p([-1.0, math.log(1e4), 2.0]) == pytest.approx(-4)
    assert sequential_log10_p([-3.0, -1.0]) == 0
    assert sequential_log10_p([]) == 0
    assert math.copysign(1, sequential_log10_p([])) == 1


def test_looking_at_every_score_accuses_no_more_often_than_said() -> None:
    """5,000 sequences of 200 green bits, each looked at 200 times."""
    rng = np.random.default_rng(2028)
    totals = (rng.random((5_000, 200)) < 0.25).cumsum(1)
    log_e = mixture_log_e(BinomialLaw(0.25), totals.ravel(), np.tile(np.arange(1, 201), 5_000))
    largest = log_e.reshape(totals.shape).max(1)
    for level in (0.05, 0.01):
        share = np.mean(largest >= -math.log(level))
        assert share <= level + 3 * math.sqrt(level / 5_000)
        # A fixed-n p at each look would be small far more often.
    fixed = BinomialLaw(0.25).p(totals, np.arange(1, 201)).min(1)
    assert np.mean(fixed <= 0.05) > 0.2


@given(
    values=st.lists(st.floats(-300, 300), min_size=2, max_size=8),
    steepness=st.sampled_from([0.05, 1.0, 6.4]),
)
def test_a_softmax_bet_averages_one_over_the_places(values: list[float], steepness: float) -> None:
    bets = [softmax_log_e(values, steepness, at) for at in range(len(values))]
    assert logsumexp(bets) - math.log(len(bets)) == pytest.approx(0, abs=1e-9)
    assert max(range(len(values)), key=bets.__getitem__) == int(np.argmax(bets))


@given(others=st.integers(1, 20), steepness=st.floats(0, 20))
def test_a_bet_on_a_rank_averages_one_and_grows_with_it(others: int, steepness: float) -> None:
    bets = [rank_log_e(rank, others, steepness) for rank in range(others + 1)]
    assert logsumexp(bets) - math.log(len(bets)) == pytest.approx(0, abs=1e-9)
    assert bets == sorted(bets)


def test_a_learnt_bet_averages_one_over_every_history() -> None:
    """All 4^4 histories of ranks among three: the product's mean is 1, and no bet sees itself."""
    table = [[rank_log_e(rank, 3, steepness) for steepness in STEEPNESSES] for rank in range(4)]
    products = []
    for history in product(range(4), repeat=4):
        bets = learnt_log_e([table[rank] for rank in history])
        products.append(float(bets.sum()))
        for t in range(4):
            changed = [table[rank] for rank in history]
            changed[t] = table[(history[t] + 1) % 4]
            # Another outcome at t leaves the steepness at t where it was.
            column = table[history[t]].index(bets[t])
            again = learnt_log_e(changed)[t]
            assert again in {row[column] for row in [changed[t]]}
    assert logsumexp(products) - math.log(len(products)) == pytest.approx(0, abs=1e-9)


def test_a_steepness_is_learnt() -> None:
    high = [[rank_log_e(9, 9, steepness) for steepness in STEEPNESSES]] * 20
    bets = learnt_log_e(high)
    assert bets[0] == high[0][1]
    assert bets[1:] == pytest.approx([high[0][-1]] * 19)
    low = [[rank_log_e(0, 9, steepness) for steepness in STEEPNESSES]] * 20
    assert learnt_log_e(low)[1:] == pytest.approx(np.zeros(19))
    assert len(learnt_log_e(np.empty((0, 3)))) == 0
    with pytest.raises(ValueError, match="table"):
        learnt_log_e([[0.0, 1.0]], first=2)


def test_an_average_is_one_of_e_values() -> None:
    assert average_log_e([math.log(4), math.log(2), -800.0]) == pytest.approx(math.log(2))
    for order in permutations([3.0, 900.0]):
        assert average_log_e(order) == pytest.approx(900 - math.log(2))
    with pytest.raises(ValueError, match="one e-value"):
        average_log_e([])


def test_what_no_law_allows_is_refused() -> None:
    with pytest.raises(ValueError, match="green bits"):
        mixture_log_e(BinomialLaw(0.5), 4, 3)
    with pytest.raises(ValueError, match="below 0"):
        mixture_log_e(GammaLaw(1), -1.0, 3)


@given(st.lists(st.floats(-5, 5), max_size=6))
def test_betting_is_an_average_over_shares_of_products(log_es: list[float]) -> None:
    shares = (0.2, 0.7)
    found = betting_log_e(log_es, shares)
    assert len(found) == len(log_es) + 1 and found[0] == pytest.approx(0, abs=1e-12)
    for n in range(len(log_es) + 1):
        whole = np.mean([math.prod(1 - s + s * math.exp(e) for e in log_es[:n]) for s in shares])
        assert found[n] == pytest.approx(math.log(whole), abs=1e-9)


def test_betting_survives_an_e_value_of_nothing_and_takes_shares() -> None:
    found = betting_log_e([-math.inf, 30.0])
    assert math.isfinite(found[1]) and found[2] > 25
    for wrong in ((0.0, 0.5), (0.5, 1.0)):
        with pytest.raises(ValueError, match=r"\(0, 1\)"):
            betting_log_e([0.0], wrong)


def test_lifting_averages_one_over_the_largest_law_that_ville_allows() -> None:
    # P(y >= c) = 1 / c for every c >= 1: the density of ln y is exp(-x).
    whole, _ = quad(lambda x: math.exp(lifted_log_e(x) - x), 0, 700, epsabs=0, limit=500)
    # What is left out above 700 is 1 / 700: see the antiderivative -(1 - exp(-x)) / x.
    assert whole == pytest.approx(1 - 1 / 700, rel=1e-6)


def test_lifting_is_its_formula_and_rises() -> None:
    assert lifted_log_e(0) == pytest.approx(math.log(0.5))
    for log_sup in (0.0009, 0.0011, 0.3, 2.0, 20.0, 300.0):
        y = math.exp(log_sup)
        exact = (y - 1 - log_sup) / log_sup**2
        assert lifted_log_e(log_sup) == pytest.approx(math.log(exact), rel=1e-6, abs=1e-6)
    grid = [lifted_log_e(x) for x in np.linspace(0, 50, 2_001)]
    assert all(a < b for a, b in pairwise(grid))
    with pytest.raises(ValueError, match="1 at least"):
        lifted_log_e(-0.1)


def test_lifting_holds_for_who_looks_inside_a_bet_where_the_bet_does_not() -> None:
    # A bet on two coins, 4 for two heads, is told after both; somebody sees the first one fall,
    # and looks at the process only at a moment that suits: now after a tail, later after a head.
    seen, lifted = [], []
    for first, second in product((0, 1), repeat=2):
        process = betting_log_e([math.log(4) if first and second else -math.inf])
        at = 1 if first else 0
        seen.append(math.exp(process[at]))
        lifted.append(math.exp(lifted_log_e(float(process[: at + 1].max()))))
    assert np.mean(seen) > 1.2
    assert np.mean(lifted) <= 1
