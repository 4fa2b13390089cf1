"""Exact laws of statistics of permutations drawn with equal chances (docs/methods/trace.md).

A law is kept as the logarithms of its chances, since what follows from a true copy is far below
the smallest float64. Sums of several independent ones are convolved; where their tail is too small
for that, Chernoff's bound stands for it, which is never below the tail.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import gammaln, logsumexp

Floats = NDArray[np.float64]

# A tail below this is bounded instead of summed: float64 ends at 1e-308.
_LEAST = 1e-250


@dataclass(frozen=True)
class SumLaw:
    """The sum of `terms` independent draws of a law on 0..n, of which log chances are given."""

    log_pmf_K: Floats
    terms: int

    @property
    def mean(self) -> float:
        """Mean of the sum."""
        values = np.arange(len(self.log_pmf_K))
        return self.terms * float(np.dot(values, np.exp(self.log_pmf_K)))

    def pmf(self) -> Floats:
        """Return the chances of the sums 0, 1, ...; those below the smallest float64 are 0."""
        one = np.exp(self.log_pmf_K)
        one = one[: int(np.flatnonzero(one)[-1]) + 1]
        law = np.ones(1)
        for _ in range(self.terms):
            law = np.convolve(law, one)
            law = law[: int(np.flatnonzero(law)[-1]) + 1]
        return law

    def log_p(self, total: int) -> float:
        """Return the natural logarithm of P(sum >= total), or of a bound that is not below it."""
        if total <= 0:
            return 0.0
        tail = float(self.pmf()[total:].sum()) if total < len(self.log_pmf_K) * self.terms else 0.0
        if tail > _LEAST:
            return min(0.0, math.log(tail))
        return self._bound(total)

    def randomised_p(self, total: int, coin: float) -> float:
        """Return P(sum > total) + coin * P(sum = total), which is uniform for a uniform coin."""
        law = self.pmf()
        return float(law[total + 1 :].sum() + coin * law[total]) if total < len(law) else 0.0

    def _bound(self, total: int) -> float:
        """Return the least of terms * log E exp(t X) - t * total over t >= 0 (Chernoff 1952)."""
        finite = np.isfinite(self.log_pmf_K)
        value_K, log_K = np.flatnonzero(finite), self.log_pmf_K[finite]
        most = int(value_K[-1])
        if total >= self.terms * most:
            return self.terms * float(log_K[-1]) if total == self.terms * most else -math.inf

        def exponent(tilt: float) -> float:
            return self.terms * float(logsumexp(log_K + tilt * value_K)) - tilt * total

        # At the best tilt the mean is total / terms; log chances fall no faster than n log n.
        steepest = 2 * math.log(most + 2) + 1
        found = minimize_scalar(exponent, bounds=(0.0, steepest), method="bounded")
        return min(0.0, float(found.fun))


def fixed_points_law(n: int) -> Floats:
    """Return log P(k of n things stay in place), k = 0..n, under a uniform permutation.

    P(k) = D(n - k) / (k! (n - k)!), the rencontres numbers: D(m) / m! is the sum of (-1)^i / i! up
    to m (Montmort 1708). -inf for k = n - 1, which cannot be.
    """
    i = np.arange(n + 1)
    signed = np.where(i % 2 == 0, 1.0, -1.0) * np.exp(-gammaln(i + 1.0))
    deranged = np.cumsum(signed)
    if n >= 1:
        deranged[1] = 0.0
    with np.errstate(divide="ignore"):
        found = np.log(np.maximum(deranged[::-1], 0.0)) - gammaln(i + 1.0)
    return np.asarray(found, dtype=np.float64)


def ascents_law(n: int) -> Floats:
    """Return log P(k of the n - 1 neighbours rise), k = 0..n - 1, under a uniform permutation.

    Eulerian numbers over n!, by their recurrence: P_n(k) = ((k + 1) P_{n-1}(k) +
    (n - k) P_{n-1}(k - 1)) / n.
    """
    law = np.zeros(1)
    for m in range(2, n + 1):
        k = np.arange(m)
        stay = np.append(law, -np.inf) + np.log(k + 1)
        with np.errstate(divide="ignore"):
            rise = np.insert(law, 0, -np.inf) + np.log(m - k)
        law = np.logaddexp(stay, rise) - math.log(m)
    return law


def fixed_points(permutation: NDArray[np.int64]) -> int:
    """Return how many things stay in place."""
    return int(np.sum(permutation == np.arange(len(permutation))))


def ascents(places: NDArray[np.int64]) -> int:
    """Return how many neighbours rise."""
    return int(np.sum(np.diff(places) > 0))
