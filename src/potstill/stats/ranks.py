"""The exact law of a sum of independent ranks (docs/methods/trace.md).

A rank is uniform on 0 .. m, where m is how many others something was ranked among; m may differ
from one rank to the next. Nothing here approximates by a normal, however far out the tail.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.fft import next_fast_len
from scipy.optimize import brentq

# Nothing changes any more where a law is tilted further than this.
_STEEPEST = 60.0


@dataclass(frozen=True)
class RankSumLaw:
    """How the sum of independent ranks is spread, the i-th uniform on 0 .. `others[i]`.

    Raises ValueError for a number below 1: a rank among nothing says nothing.
    """

    others: tuple[int, ...]

    def __post_init__(self) -> None:
        if any(m < 1 for m in self.others):
            raise ValueError("each rank is among one other at least")

    @property
    def most(self) -> int:
        """The largest sum."""
        return sum(self.others)

    @property
    def mean(self) -> float:
        """The mean of the sum."""
        return self.most / 2

    @cached_property
    def spread(self) -> float:
        """Standard deviation of the sum: that of one rank is sqrt(m (m + 2) / 12)."""
        return math.sqrt(sum(m * (m + 2) for m in self.others) / 12)

    def p(self, total: int) -> float:
        """Return the chance of a sum of at least `total`; 0 where it is below any float64."""
        return float(10 ** self.log10_p(total))

    def log10_p(self, total: int) -> float:
        """Return the logarithm of `p`, right to nine digits also far below the least float64.

        With chances multiplied by e^(t r), t chosen so that `total` is the mean, the tail is
        e^(K(t) - t total) times the sum of chance(r) e^(-t (r - total)) over r >= total, where
        K(t) is the logarithm of the mean of e^(t r): an identity, in which nothing is small.
        """
        if total > self.most:
            return -math.inf
        if total <= 0:
            return 0.0
        if total == self.most:
            return -sum(math.log10(m + 1) for m in self.others)
        tilt = 0.0 if total <= self.mean else self._tilt(total)
        chance_R = self._chances(tilt)[total:]
        fall_R = np.exp(-tilt * np.arange(len(chance_R)))
        inside = float(chance_R @ fall_R)
        raised = sum(k * _raised(m, tilt) for m, k in self._counts.items())
        return min(0.0, (raised - tilt * total + math.log(inside)) / math.log(10))

    def randomised_p(self, total: ArrayLike, coin: ArrayLike) -> NDArray[np.float64]:
        """Return P(sum > total) + coin * P(sum = total): uniform for a uniform `coin`.

        Off by less than 1e-12: for calibration, not for claims.
        """
        least = np.clip(np.asarray(total, dtype=np.int64), 0, self.most)
        level = self._chances(0.0)[least]
        above = self._tail_R[least + 1]
        return np.asarray(above + np.asarray(coin, dtype=np.float64) * level, dtype=np.float64)

    @cached_property
    def _tail_R(self) -> NDArray[np.float64]:
        """The chance of at least r, for every r from 0 to `most` + 1."""
        return np.append(np.cumsum(self._chances(0.0)[::-1])[::-1], 0.0)

    @cached_property
    def _counts(self) -> Counter[int]:
        return Counter(self.others)

    def _chances(self, tilt: float) -> NDArray[np.float64]:
        """Return the chance of every sum from 0 to `most`, tilted towards large ones.

        One transform back of the product of every rank's own. Its error is some 1e-13 of the
        largest chance, which stands where the tail is summed up.
        """
        length = next_fast_len(self.most + 1, real=True)
        product = np.ones(length // 2 + 1, np.complex128)
        for m, count in self._counts.items():
            product *= np.fft.rfft(_tilted(m, tilt), length) ** count
        chance_R = np.fft.irfft(product, length)[: self.most + 1]
        return np.maximum(chance_R, 0.0)

    def _tilt(self, total: int) -> float:
        def too_high(tilt: float) -> float:
            means = (
                k * float(_tilted(m, tilt) @ np.arange(m + 1)) for m, k in self._counts.items()
            )
            return sum(means) - total

        if too_high(_STEEPEST) <= 0:
            return _STEEPEST
        return float(brentq(too_high, 0.0, _STEEPEST, xtol=1e-10))


def _tilted(m: int, tilt: float) -> NDArray[np.float64]:
    """Return the chances of 0 .. m in proportion to e^(tilt r)."""
    weight = np.exp(tilt * (np.arange(m + 1) - m))
    return np.asarray(weight / weight.sum(), dtype=np.float64)


def _raised(m: int, tilt: float) -> float:
    """Return ln of the mean of e^(tilt r) over r = 0 .. m."""
    return tilt * m + math.log(float(np.exp(tilt * (np.arange(m + 1) - m)).mean()))


def rank_among(score: float, others: Sequence[float], coin: float) -> int:
    """Return how many of the others a score stands above, 0 to their number.

    Equal ones are put in an order by `coin`, a number in [0, 1): with e of them, each of the
    e + 1 places is as likely as another.
    """
    below = sum(other < score for other in others)
    equal = sum(other == score for other in others)
    return below + int(coin * (equal + 1))
