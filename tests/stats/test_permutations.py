"""Laws of permutations against all of them, and bounds that are never below the tail."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.stats.permutations import (
    SumLaw,
    ascents,
    ascents_law,
    fixed_points,
    fixed_points_law,
)

LAWS = [(fixed_points_law, fixed_points), (ascents_law, ascents)]


def counted(statistic: object, n: int) -> list[float]:
    found = Counter(
        statistic(np.array(p))  # type: ignore[operator]
        for p in itertools.permutations(range(n))
    )
    return [found[k] / math.factorial(n) for k in range(max(found) + 1)]


@pytest.mark.parametrize(("law", "statistic"), LAWS)
@pytest.mark.parametrize("n", range(1, 8))
def test_a_law_is_that_of_all_permutations(law: object, statistic: object, n: int) -> None:
    found = np.exp(law(n))  # type: ignore[operator]
    assert found.tolist() == pytest.approx(counted(statistic, n), rel=1e-12, abs=1e-16)


@pytest.mark.parametrize("n", [50, 400])
def test_fixed_points_of_many_are_as_fractions_say(n: int) -> None:
    deranged = [Fraction(1)]
    for i in range(1, n + 1):
        deranged.append(deranged[-1] + Fraction((-1) ** i, math.factorial(i)))
    found = fixed_points_law(n)
    for k in (0, 1, 5, n // 2, n - 2, n):
        # Through log of whole numbers: the fraction itself is no float64.
        exact = deranged[n - k] / math.factorial(k)
        log = math.log(exact.numerator) - math.log(exact.denominator)
        assert found[k] == pytest.approx(log, rel=1e-12, abs=1e-12)
    assert found[n - 1] == -math.inf
    assert np.exp(found).sum() == pytest.approx(1)


def test_all_rise_in_one_permutation_alone() -> None:
    found = ascents_law(300)
    assert found[-1] == pytest.approx(-math.lgamma(301), rel=1e-12)
    assert np.exp(found).sum() == pytest.approx(1)
    assert found == pytest.approx(found[::-1], rel=1e-9)


@given(st.sampled_from(LAWS), st.integers(2, 5), st.integers(1, 3))
def test_sums_are_those_of_all_pairs(laws: tuple[object, object], n: int, terms: int) -> None:
    law, statistic = laws
    one = counted(statistic, n)
    exact = [0.0] * (terms * (len(one) - 1) + 1)
    for values in itertools.product(range(len(one)), repeat=terms):
        exact[sum(values)] += math.prod(one[v] for v in values)
    found = SumLaw(law(n), terms)  # type: ignore[operator]
    assert found.pmf()[: len(exact)].tolist() == pytest.approx(exact, abs=1e-14)
    for total in range(len(exact)):
        tail = sum(exact[total:])
        assert math.exp(found.log_p(total)) == pytest.approx(tail, rel=1e-9)
        # The bound that takes over far out is never below the tail.
        if total > found.mean:
            assert found._bound(total) >= math.log(tail) - 1e-9
        assert found.randomised_p(total, 1.0) == pytest.approx(tail, abs=1e-14)


@pytest.mark.parametrize(("n", "terms"), [(1536, 30), (160, 6)])
def test_the_bound_takes_over_without_a_step_down(n: int, terms: int) -> None:
    """Logarithms of tails fall all the way to that of the identity in every term."""
    law = SumLaw(fixed_points_law(n), terms)
    totals = np.unique(np.geomspace(1, n * terms, 60).astype(int))
    logs = np.array([law.log_p(int(t)) for t in totals])
    assert np.all(np.diff(logs) <= 5.0)  # a bound is above by the root of a few totals at most
    assert logs[-1] == pytest.approx(-terms * math.lgamma(n + 1), rel=1e-9)
    assert logs[0] > -1


def test_the_bound_is_close_to_the_tail() -> None:
    law = SumLaw(fixed_points_law(1000), 10)
    tail = float(law.pmf()[60:].sum())
    assert math.log(tail) <= law._bound(60) <= math.log(tail) + math.log(60)
