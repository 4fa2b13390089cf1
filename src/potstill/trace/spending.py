"""How alpha is spent over everything that was tried with one teacher (docs/methods/trace.md).

The t-th test of a tier, counted over all plans of the teacher's chain, may spend
alpha / (t (t + 1)), and these sum to alpha however many follow: so the chance that any of them ever
finds something where nothing is stays at most alpha, also for an owner who goes on until one does.
(Dividing by the number of tests so far would not: over K plans it sums to alpha (1 + 1/2 + ... +
1/K).) The tests of one plan share alike what is theirs.
"""

from __future__ import annotations

import math

_LOG10_2 = math.log10(2)


def times_for(tests: int, before: int) -> int:
    """Return what each p-value of a plan's `tests` tests is multiplied by, after `before` others.

    Their m levels are alpha / ((t + 1) (t + m + 1)), of which m sum up to
    alpha (1 / (t + 1) - 1 / (t + m + 1)). Raises ValueError for no test.
    """
    if tests < 1 or before < 0:
        raise ValueError("a plan has one test or more, and none or more before it")
    return (before + 1) * (before + tests + 1)


def e_of_p(log10_p: float) -> float:
    """Return the logarithm of the e-value 1 / (2 sqrt(p)) that a p-value is worth.

    The calibrator kappa p^(kappa - 1) at kappa 1/2 (Vovk and Wang 2021, Annals of Statistics 49,
    equation 1): its expectation under the null hypothesis is at most 1.
    """
    return -log10_p / 2 - _LOG10_2


def share_after(log10_e: float, before: float) -> float:
    """Return the chance that odds of `before` to 1 - `before` come to when multiplied by e."""
    odds = log10_e + math.log10(before / (1 - before))
    return 1 / (1 + 10**-odds) if odds > -300 else 0.0
