"""How much text a detection takes, against the exact power of a binomial test."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from potstill.stats.exact import BinomialLaw, GammaLaw
from potstill.watermark.needed import scores_needed


@pytest.mark.parametrize(("rate", "p"), [(0.6, 1e-6), (0.55, 1e-3), (0.9, 1e-6)])
def test_the_power_at_that_size_is_what_was_planned(rate: float, p: float) -> None:
    law = BinomialLaw(0.5)
    n = scores_needed(law, rate, (rate * (1 - rate)) ** 0.5, p)
    assert n is not None
    sums = np.arange(n + 1)
    power = stats.binom.pmf(sums, n, rate)[law.p(sums, n) <= p].sum()
    assert 0.72 < power < 0.9


def test_for_numbers_too() -> None:
    n = scores_needed(GammaLaw(1), 1.3, 1.2, 1e-4)
    assert n is not None
    rng = np.random.default_rng(4)
    # Scores with that mean and spread.
    shape, scale = (1.3 / 1.2) ** 2, 1.2**2 / 1.3
    totals = rng.gamma(shape * n, scale, 4_000)
    assert np.mean(GammaLaw(1).p(totals, n) <= 1e-4) == pytest.approx(0.8, abs=0.05)


def test_where_there_is_no_mark_no_amount_is_enough() -> None:
    assert scores_needed(BinomialLaw(0.5), 0.5, 0.5, 1e-6) is None
    assert scores_needed(BinomialLaw(0.5), 0.4, 0.5, 1e-6) is None
    assert scores_needed(BinomialLaw(0.5), 0.5 + 1e-9, 0.5, 1e-6) is None


def test_a_smaller_p_takes_more() -> None:
    sizes = [scores_needed(BinomialLaw(0.5), 0.7, 0.46, p) for p in (1e-2, 1e-4, 1e-8)]
    assert sizes == sorted(sizes)
    assert scores_needed(BinomialLaw(0.5), 1.0, 0.0, 1e-6) == 20
