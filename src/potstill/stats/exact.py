"""Exact tails, randomised p-values, exact intervals, Holm (docs/methods/watermark.md).

A law is how a sum of n scores is spread where a hypothesis is true; its p-value is the chance of
a sum at least as large. Nothing here approximates by a normal.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, gammaincc
from scipy.stats import binom

# Below this, a tail in float64 has lost digits, and its logarithm is summed up term by term.
_LEAST = 1e-290
# Terms of a falling series that no float64 sees any more are this far down, in nats.
_DEPTH = 45.0


class Law(Protocol):
    """How the sum of n independent scores is spread under a null hypothesis."""

    @property
    def mean(self) -> float:
        """Mean of one score."""
        ...

    @property
    def spread(self) -> float:
        """Standard deviation of one score."""
        ...

    def p(self, total: ArrayLike, n: ArrayLike) -> NDArray[np.float64]:
        """Return the chance of a sum of at least `total` over `n` scores; 1 where n is 0."""
        ...

    def log10_p(self, total: float, n: int) -> float:
        """Return the logarithm of `p`, also where `p` itself is below the smallest float64."""
        ...

    def randomised_p(self, total: ArrayLike, n: ArrayLike, coin: ArrayLike) -> NDArray[np.float64]:
        """Return P(sum > total) + coin * P(sum = total): uniform for a uniform `coin`."""
        ...


@dataclass(frozen=True)
class BinomialLaw:
    """Sums of independent scores that are 1 at a chance of `rate`, else 0."""

    rate: float

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise ValueError("rate must lie in (0, 1)")

    @property
    def mean(self) -> float:
        return self.rate

    @property
    def spread(self) -> float:
        return math.sqrt(self.rate * (1 - self.rate))

    def p(self, total: ArrayLike, n: ArrayLike) -> NDArray[np.float64]:
        # The chance of more than `total - 1`; a total that is no whole number rounds up.
        least = np.ceil(np.asarray(total, dtype=np.float64))
        return np.asarray(binom.sf(least - 1, n, self.rate), dtype=np.float64)

    def log10_p(self, total: float, n: int) -> float:
        direct = float(self.p(total, n))
        if direct > _LEAST or total > n:
            return math.log10(direct) if direct > 0 else -math.inf
        # P(S >= s) = P(S = s) * (1 + r(s) + r(s) r(s + 1) + ...), with
        # r(j) = P(S = j + 1) / P(S = j) = (n - j) / (j + 1) * rate / (1 - rate).
        least = math.ceil(total)
        odds = self.rate / (1 - self.rate)
        terms = _terms((n - least) / (least + 1) * odds, n - least)
        j = least + np.arange(terms)
        series = _falling((n - j) / (j + 1) * odds)
        return float((binom.logpmf(least, n, self.rate) + math.log(series)) / math.log(10))

    def randomised_p(self, total: ArrayLike, n: ArrayLike, coin: ArrayLike) -> NDArray[np.float64]:
        above = np.asarray(binom.sf(total, n, self.rate), dtype=np.float64)
        level = np.asarray(binom.pmf(total, n, self.rate), dtype=np.float64)
        return above + np.asarray(coin, dtype=np.float64) * level


@dataclass(frozen=True)
class GammaLaw:
    """Sums of independent scores that are each Gamma(shape, 1); shape 1 is the exponential."""

    shape: int = 1

    def __post_init__(self) -> None:
        if self.shape < 1:
            raise ValueError("shape must be a whole number from 1 on")

    @property
    def mean(self) -> float:
        return float(self.shape)

    @property
    def spread(self) -> float:
        return math.sqrt(self.shape)

    def p(self, total: ArrayLike, n: ArrayLike) -> NDArray[np.float64]:
        shape = self.shape * np.asarray(n, dtype=np.float64)
        least = np.maximum(np.asarray(total, dtype=np.float64), 0.0)
        tail = gammaincc(np.maximum(shape, 1.0), least)
        return np.asarray(np.where(shape == 0, 1.0, tail), dtype=np.float64)

    def log10_p(self, total: float, n: int) -> float:
        direct = float(self.p(total, n))
        if direct > _LEAST:
            return math.log10(direct)
        # Q(a, x) = sum of Poisson(x) terms below a: P(a - 1) * (1 + (a - 1) / x + ...).
        a = self.shape * n
        terms = _terms((a - 1) / total, a - 1)
        series = _falling((a - 1 - np.arange(terms)) / total)
        first = -total + (a - 1) * math.log(total) - math.lgamma(a)
        return (first + math.log(series)) / math.log(10)

    def randomised_p(self, total: ArrayLike, n: ArrayLike, coin: ArrayLike) -> NDArray[np.float64]:
        # A sum has no single value with a chance of its own, but for no scores at all.
        return np.where(np.asarray(n) == 0, np.asarray(coin, dtype=np.float64), self.p(total, n))


def _terms(ratio: float, most: int) -> int:
    """Return how many terms of a series, whose ratios only fall from `ratio` on, are seen."""
    if ratio >= 1:
        return most
    return min(most, math.ceil(_DEPTH / -math.log(ratio))) if ratio > 0 else 0


def _falling(ratio_T: NDArray[np.float64]) -> float:
    """Return 1 + r0 + r0 r1 + r0 r1 r2 + ..."""
    return 1.0 + float(np.cumprod(ratio_T).sum())


def clopper_pearson(successes: int, n: int, confidence: float) -> tuple[float, float]:
    """Return the exact interval of a chance (Clopper and Pearson 1934, Biometrika 26, 404-413).

    Raises ValueError where `successes` is not in [0, n], for no trials, or for a confidence
    outside (0, 1).
    """
    if not 0 <= successes <= n or n < 1 or not 0 < confidence < 1:
        raise ValueError("successes must lie in [0, n], n be 1 or more, confidence in (0, 1)")
    side = (1 - confidence) / 2
    lower = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, side))
    upper = 1.0
    if successes < n:
        upper = float(betaincinv(successes + 1, n - successes, 1 - side))
    return lower, upper


def holm(p_values: Sequence[float]) -> list[float]:
    """Return Holm's adjusted p-values in the same order (1979, Scand. J. Statist. 6, 65-70).

    They hold whatever the dependence. Raises ValueError for a number outside [0, 1].
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError("p-values must lie in [0, 1]")
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, least = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = least
    return adjusted
