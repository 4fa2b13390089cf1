"""How much text a detection takes: a plan, not a p-value."""

from __future__ import annotations

import math

from scipy.special import ndtri

from potstill.stats.exact import Law

# The chance of a detection that a size is planned for.
POWER = 0.8
# More than anybody has: no such size is named.
_MOST = 10**12


def scores_needed(law: Law, mean: float, spread: float, p: float) -> int | None:
    """Return how many distinct scores reach the exact p with a chance of 80%; None if none do.

    The scores are taken for independent, with the given mean and standard deviation. How a
    marked text's sum is spread is approximated by a normal here; the p that it has to reach is
    the law's own.
    """
    if mean <= law.mean:
        return None
    quantile = float(ndtri(1 - POWER))

    def reaches(n: int) -> bool:
        return float(law.p(n * mean + quantile * spread * math.sqrt(n), n)) <= p

    high = 1
    while not reaches(high):
        high *= 2
        if high > _MOST:
            return None
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        if reaches(middle):
            high = middle
        else:
            low = middle
    return high
