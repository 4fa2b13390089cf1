"""Several tests at once: against simulation and against procedures written out another way."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from potstill.stats.exact import BinomialLaw
from potstill.stats.multiple import (
    adaptive_bh,
    bonferroni_log10,
    e_bh,
    fisher_log10,
    spent_share,
    weighted_e_bh,
)


def test_bonferroni_multiplies_and_stops_at_one() -> None:
    assert bonferroni_log10(-6, 100) == pytest.approx(-4)
    assert bonferroni_log10(-1, 100) == 0
    assert bonferroni_log10(-5_000, 10) == pytest.approx(-4_999)
    for wrong in ((-1, 0), (0.5, 3), (math.nan, 2)):
        with pytest.raises(ValueError, match="Bonferroni"):
            bonferroni_log10(*wrong)


@given(st.lists(st.floats(-45, 0), min_size=1, max_size=6))
def test_fisher_is_scipy_s_where_floats_reach(log10_ps: list[float]) -> None:
    expected = stats.combine_pvalues([10**p for p in log10_ps], method="fisher").pvalue
    assert fisher_log10(log10_ps) == pytest.approx(math.log10(expected), abs=1e-7)


def test_fisher_goes_below_every_float() -> None:
    """Of two: p (1 - ln p) with p their product."""
    found = fisher_log10([-400, -300])
    assert found == pytest.approx(-700 + math.log10(1 + 700 * math.log(10)), rel=1e-12)


def test_fisher_of_exact_discrete_p_values_is_conservative() -> None:
    """Every pair of two binomials, in full: the chance of p <= level is at most the level."""
    first, second = BinomialLaw(0.5), BinomialLaw(0.25)
    s, t = np.arange(9), np.arange(7)
    log_p, log_q = np.log10(first.p(s, 8)), np.log10(second.p(t, 6))
    chance = np.outer(stats.binom.pmf(s, 8, 0.5), stats.binom.pmf(t, 6, 0.25))
    found = np.array([[10 ** fisher_log10([a, b]) for b in log_q] for a in log_p])
    for level in np.unique(found):
        assert chance[found <= level].sum() <= level * (1 + 1e-9)


@pytest.mark.parametrize("wrong", [[], [0.1], [-math.inf, -1], [math.nan]])
def test_fisher_takes_chances(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match="Fisher"):
        fisher_log10(wrong)


def by_definition(e_values: list[float], level: float) -> list[bool]:
    """Reject all e >= t for the least threshold t whose estimated false share is at most level."""
    count, best = len(e_values), math.inf
    for t in e_values:
        rejected = sum(e >= t for e in e_values)
        if t > 0 and count / (t * rejected) <= level * (1 + 1e-12):
            best = min(best, t)
    return [e >= best for e in e_values]


@given(
    e_values=st.lists(st.sampled_from([0.25, 1.0, 4.0, 16.0, 64.0, 256.0]), max_size=9),
    level=st.sampled_from([0.03, 0.25, 0.4]),
)
def test_e_bh_is_its_definition(e_values: list[float], level: float) -> None:
    found = e_bh([math.log10(e) for e in e_values], level)
    assert list(found) == by_definition(e_values, level)


def test_e_bh_keeps_the_rate_under_dependence() -> None:
    """One shared factor makes all null e-values large together; their false share stays below."""
    rng = np.random.default_rng(2029)
    shares = []
    for _ in range(4_000):
        null = np.full(20, np.log10(1 / 0.05) if rng.random() < 0.05 else -20.0)
        found = np.array(e_bh([*null, 3.0, 3.0], 0.1))
        shares.append(found[:20].sum() / max(1, found.sum()))
    assert np.mean(shares) < 0.1
    assert np.mean(shares) > 0.01


def test_e_bh_takes_a_rate() -> None:
    with pytest.raises(ValueError, match="false discovery"):
        e_bh([1.0], 1.0)
    assert e_bh([], 0.1) == ()


@given(
    st.lists(st.floats(-3, 6), min_size=1, max_size=8),
    st.sampled_from([0.01, 0.05, 0.3]),
)
def test_weighted_e_bh_with_equal_weights_is_e_bh(log10_es: list[float], level: float) -> None:
    equal = [-math.log10(len(log10_es))] * len(log10_es)
    assert weighted_e_bh(log10_es, equal, level) == e_bh(log10_es, level)


def test_weighted_e_bh_is_its_definition_and_only_grows() -> None:
    es, weights = [3.0, 2.0, 9.0], [math.log10(w) for w in (0.5, 0.2, 0.001)]
    # 500, 20, 10^6 against 1 / (0.05 k): 20, 10, 6.7.
    assert weighted_e_bh(es, weights, 0.05) == (True, True, True)
    assert weighted_e_bh([3.0, 1.6, 1.0], weights, 0.05) == (True, False, False)
    # Whoever comes later takes nothing away from who was there.
    assert weighted_e_bh([3.0, 1.6, 1.0, -2.0], [*weights, -3.0], 0.05)[:1] == (True,)
    for wrong in ((es, [0.0, -0.1, -9.0], 0.05), (es, weights, 1.0)):
        with pytest.raises(ValueError, match=r"sum up to 1|lies in"):
            weighted_e_bh(*wrong)


def test_weighted_e_bh_keeps_the_rate_where_hypotheses_come_over_time() -> None:
    # Nulls whose e-values are as large as may be (E in {0, 20}), and true ones among them.
    rng, level, lost = np.random.default_rng(20261130), 0.05, []
    for _ in range(4_000):
        shares = [spent_share(batch) / 5 for batch in range(1, 9) for _ in range(5)]
        null = rng.random(len(shares)) < 0.8
        needs = 1 / (level * np.asarray(shares))
        es = np.where(null, np.where(rng.random(len(shares)) < 1 / needs, needs, 0.0), needs * 2)
        with np.errstate(divide="ignore"):
            found = np.asarray(weighted_e_bh(np.log10(es), np.log10(shares), level))
        lost.append((found & null).sum() / max(1, found.sum()))
    assert np.mean(lost) <= level


def test_a_level_is_spent_once_however_often_it_is() -> None:
    shares = [spent_share(n) for n in range(1, 5_001)]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1 - 1 / (1 + math.log(5_001)))
    with pytest.raises(ValueError, match="first time"):
        spent_share(0)


def test_adaptive_bh_is_bh_where_half_lie_above_a_half() -> None:
    ps = [0.001, 0.012, 0.04, 0.2, 0.6, 0.7, 0.8, 0.9]
    # Storey's estimate is 2 (1 + 4), more than there are: 8.
    assert adaptive_bh(ps, 0.05) == (True, True, *[False] * 6)
    assert sum(stats.false_discovery_control(ps) <= 0.05) == 2
    # Where nearly all are small, what is less than a half is told.
    many = [0.3] * 30 + [0.9]
    assert adaptive_bh(many, 0.1) == (*[True] * 30, False)
    assert adaptive_bh([0.01] * 40 + [0.3] * 4 + [0.9], 0.1) == (*[True] * 44, False)
    assert adaptive_bh([], 0.1) == ()
    with pytest.raises(ValueError, match="lies in"):
        adaptive_bh(ps, 0.0)


def test_adaptive_bh_keeps_the_rate() -> None:
    rng, shares = np.random.default_rng(2030), []
    for _ in range(4_000):
        null = rng.random(30) < rng.choice([0.1, 0.5, 1.0])
        ps = np.where(null, rng.integers(1, 201, 30) / 200, 0.005)
        found = np.array(adaptive_bh(ps.tolist(), 0.1))
        shares.append((found & null).sum() / max(1, found.sum()))
    assert np.mean(shares) <= 0.1
    assert np.mean(shares) > 0.02
