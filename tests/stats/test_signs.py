"""The sign-flip law against every assignment of signs."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.stats.exact import clopper_pearson
from potstill.stats.signs import sign_flip_law, sign_flip_p


def enumerated(differences: list[int]) -> Fraction:
    total = sum(differences)
    flips = list(itertools.product((-1, 1), repeat=len(differences)))
    hits = sum(sum(s * abs(d) for s, d in zip(f, differences, strict=True)) >= total for f in flips)
    return Fraction(hits, len(flips))


@given(st.lists(st.integers(-7, 7), max_size=10))
def test_p_is_that_of_all_signs(differences: list[int]) -> None:
    assert sign_flip_p(differences) == pytest.approx(float(enumerated(differences)), rel=1e-12)


@given(st.lists(st.integers(0, 20), max_size=30))
def test_the_law_is_whole_and_even(sizes: list[int]) -> None:
    law = sign_flip_law(sizes)
    assert len(law) == sum(sizes) + 1
    assert law.sum() == pytest.approx(1)
    assert law == pytest.approx(law[::-1])


def test_nothing_different_says_nothing() -> None:
    assert sign_flip_p([]) == sign_flip_p([0, 0]) == 1


def test_many_equal_differences_give_the_least_that_they_can() -> None:
    assert sign_flip_p([3] * 200) == pytest.approx(2.0**-200, rel=1e-9)
    assert 0 < sign_flip_p([1] * 3000) < 1e-300


def test_the_level_is_kept_where_signs_are_fair() -> None:
    """Skewed sizes, fair signs; the seed was fixed before the first run."""
    rng = np.random.default_rng(270101)
    trials = 20_000
    sizes = rng.geometric(0.3, size=(trials, 25)) * rng.choice([-1, 1], size=(trials, 25))
    p = np.array([sign_flip_p(row.tolist()) for row in sizes])
    for level in (0.05, 0.01, 0.001):
        # Discrete, so at or below the level; the lower end of the interval of what was seen.
        low, _ = clopper_pearson(int(np.sum(p <= level)), trials, 0.999)
        assert low <= level
