"""Several tests at once: what may be put together, and how (docs/methods/trace.md).

p-values come as their logarithms (base 10), since those of a trace are often below any float64.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from potstill.stats.exact import GammaLaw

# What logarithms may differ by where what they are of does not.
_ROUNDING = 1e-12


def bonferroni_log10(log10_p: float, tests: int) -> float:
    """Return log10 of min(1, tests * p), valid whatever the dependence.

    Raises ValueError for no tests or a p above 1.
    """
    if tests < 1 or not log10_p <= 0:
        raise ValueError("Bonferroni takes a p-value and one test at least")
    return min(0.0, log10_p + math.log10(tests))


def fisher_log10(log10_ps: Sequence[float]) -> float:
    """Return log10 of Fisher's p for independent p-values (1932, section 21.1).

    With k independent uniform numbers, -ln of their product is Gamma(k, 1). Exact p-values of
    discrete tests are at most as often small as uniform ones, so that the result is then valid and
    conservative. What it rejects is that *all* of the null hypotheses are true. For a trace only
    watermark and twins may meet here, and only as the methods page says. Raises ValueError for
    none, a p above 1 or one of 0.
    """
    if not log10_ps or not all(-math.inf < log10_p <= 0 for log10_p in log10_ps):
        raise ValueError("Fisher takes p-values above 0, one at least")
    total = -math.fsum(log10_ps) * math.log(10)
    return min(0.0, GammaLaw(1).log10_p(total, len(log10_ps)))


def e_bh(log10_es: Sequence[float], level: float) -> tuple[bool, ...]:
    """Tell which e-values e-BH rejects at a false discovery rate of `level`.

    The k largest of K, for the largest k with a k-th largest of at least K / (level k); valid
    whatever the dependence (Wang and Ramdas 2022, J. R. Statist. Soc. B 84, 822-852). Raises
    ValueError for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError("a false discovery rate lies in (0, 1)")
    order = sorted(range(len(log10_es)), key=lambda i: -log10_es[i])
    bound = math.log10(len(log10_es) / level) - _ROUNDING if log10_es else 0.0
    passing = [k for k, i in enumerate(order, 1) if log10_es[i] >= bound - math.log10(k)]
    rejected = set(order[: max(passing, default=0)])
    return tuple(i in rejected for i in range(len(log10_es)))


def weighted_e_bh(
    log10_es: Sequence[float], log10_weights: Sequence[float], level: float
) -> tuple[bool, ...]:
    """Tell which e-values e-BH with weights rejects at a false discovery rate of `level`.

    The k largest of weight times e, for the largest k with a k-th largest of at least 1 / (level
    k). Weights that sum up to 1 at most, each fixed before its e-value is, may belong to hypotheses
    that are still to come (Fischer, Xu and Ramdas 2024, arXiv 2407.20683, online e-BH); with equal
    ones this is `e_bh`. Raises ValueError for a level outside (0, 1), or weights above 1.
    """
    if not 0 < level < 1:
        raise ValueError("a false discovery rate lies in (0, 1)")
    if not math.fsum(10**weight for weight in log10_weights) <= 1 + 1e-9:
        raise ValueError("weights sum up to 1 at most")
    weighed = [e + weight for e, weight in zip(log10_es, log10_weights, strict=True)]
    order = sorted(range(len(weighed)), key=lambda i: -weighed[i])
    bound = -math.log10(level) - _ROUNDING
    passing = [k for k, i in enumerate(order, 1) if weighed[i] >= bound - math.log10(k)]
    rejected = set(order[: max(passing, default=0)])
    return tuple(i in rejected for i in range(len(weighed)))


def adaptive_bh(ps: Sequence[float], level: float) -> tuple[bool, ...]:
    """Tell which p-values Benjamini and Hochberg's procedure rejects with Storey's estimate of how
    many null hypotheses are true.

    Of n p-values, with m = min(n, 2 (1 + those above a half)), the k smallest for the largest k
    with a k-th smallest of at most level k / m. The false discovery rate is at most `level` for
    independent p-values (Storey, Taylor and Siegmund 2004, J. R. Statist. Soc. B 66, 187-205,
    theorem 3, which rejects nothing above a half). Raises ValueError for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError("a false discovery rate lies in (0, 1)")
    true = min(len(ps), 2 * (1 + sum(p > 0.5 for p in ps)))
    order = sorted(range(len(ps)), key=lambda i: ps[i])
    passing = [
        k
        for k, i in enumerate(order, 1)
        if ps[i] <= 0.5 and ps[i] * true <= level * k * (1 + _ROUNDING)
    ]
    rejected = set(order[: max(passing, default=0)])
    return tuple(i in rejected for i in range(len(ps)))


def spent_share(number: int) -> float:
    """Return which share of a level is spent at the `number`-th time (from 1 on) that it is.

    1 / (1 + ln n) - 1 / (1 + ln (n + 1)): the shares sum up to 1 exactly, however often it is
    spent, and fall nearly as slowly as shares can. Raises ValueError below 1.
    """
    if number < 1:
        raise ValueError("a level is spent a first time")
    return 1 / (1 + math.log(number)) - 1 / (1 + math.log(number + 1))
