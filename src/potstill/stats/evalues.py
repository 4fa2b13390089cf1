"""E-values that may be looked at as often as one likes (docs/methods/trace.md).

An e-value has a mean of 1 at most where the null hypothesis is true. One that is a product of
bets, each placed before its outcome is known, stays one whenever somebody stops looking (Ville
1939), so that min(1, 1 / sup E) is a p-value. Everything here is a natural logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betainc, betaln, gammainc, gammaln, logsumexp

from potstill.stats.exact import BinomialLaw, GammaLaw, Law

Floats = NDArray[np.float64]

# Below this an incomplete integral has lost digits, and its series is summed up instead.
_LEAST = 1e-290
# Terms of a falling series that no float64 sees any more.
_UNSEEN = 1e-17
# Shares of what one has that are bet each time; the average over them is placed.
SHARES = (0.1, 0.3, 0.6, 0.9)
# Below this a lifted e-value is found by its series.
_NEAR_ONE = 1e-3
# Steepness of bets on scores that are tried where it is to be learnt.
STEEPNESSES = (0.0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4)


def mixture_log_e(law: Law, total: ArrayLike, n: ArrayLike) -> Floats:
    """Return ln E of n scores that sum up to `total`, against the law of sums without a mark.

    Green bits: the likelihood ratio of a rate q against the law's, averaged over q even between
    that rate and 1 (a Beta(1, 1) prior, cut). Gumbel's scores: the product of (1 - t)^k e^(t x),
    averaged over t even on (0, 1), with k the law's shape. 1 at n = 0. Raises ValueError for
    another law.
    """
    total_T = np.atleast_1d(np.asarray(total, dtype=np.float64))
    n_T = np.broadcast_to(np.asarray(n, dtype=np.float64), total_T.shape)
    if isinstance(law, BinomialLaw):
        return _green_log_e(law.rate, total_T, n_T)
    if isinstance(law, GammaLaw):
        return _gumbel_log_e(total_T, law.shape * n_T)
    raise ValueError("there is no mixture for this law")


def running_log_e(law: Law, scores_T: ArrayLike) -> Floats:
    """Return ln E after each of T scores, which are in the order that they were looked at."""
    total_T = np.cumsum(np.asarray(scores_T, dtype=np.float64))
    return mixture_log_e(law, total_T, np.arange(1, len(total_T) + 1))


def sequential_log10_p(log_e_T: ArrayLike) -> float:
    """Return log10 of min(1, 1 / sup E) for ln E after each look; 0 where nobody looked."""
    largest = float(np.max(np.asarray(log_e_T), initial=0.0))
    return min(0.0, -largest / math.log(10))


def softmax_log_e(values: ArrayLike, steepness: float, at: int = 0) -> float:
    """Return ln of (m + 1) softmax(steepness * values)[at], a bet on the m + 1 values' order.

    Over all m + 1 places the bet averages 1, whatever the values are: an e-value where each place
    is as likely as another.
    """
    tilted_M = steepness * np.asarray(values, dtype=np.float64)
    return float(tilted_M[at] - logsumexp(tilted_M) + math.log(len(tilted_M)))


def rank_log_e(rank: int, others: int, steepness: float) -> float:
    """Return ln of a bet on a rank of 0 .. `others`: on rank / others, whose places average 1."""
    return softmax_log_e(np.arange(others + 1) / others, steepness, rank)


def learnt_log_e(bets_TL: ArrayLike, first: int = 1) -> Floats:
    """Return ln of each of T bets at a steepness that the bets before it would have chosen.

    `bets_TL` has ln of each bet at L steepnesses. The t-th is placed at the one whose product
    over the bets before t is largest (the least such where several are), the very first at column
    `first`: nothing is learnt from a bet's own outcome. Raises ValueError for no steepness.
    """
    bets = np.asarray(bets_TL, dtype=np.float64)
    if bets.ndim != 2 or not 0 <= first < bets.shape[1]:
        raise ValueError("bets are a table of outcomes by steepness, the first one of these")
    if not len(bets):
        return np.empty(0)
    column_T = np.empty(len(bets), np.int64)
    column_T[0] = first
    column_T[1:] = np.cumsum(bets[:-1], axis=0).argmax(1)
    return np.asarray(bets[np.arange(len(bets)), column_T], dtype=np.float64)


def betting_log_e(log_e_T: ArrayLike, shares: Sequence[float] = SHARES) -> Floats:
    """Return ln of what betting on T e-values has come to, before the first and after each.

    For each share s it is the product of 1 - s + s e, and the average over shares counts. Where
    each e has a mean of 1 at most given all before it, this is a process that starts at 1 and
    falls in the mean, and one e of 0 does not end it (Waudby-Smith and Ramdas 2024, J. R. Statist.
    Soc. B 86, 1-27). Raises ValueError for a share outside
    (0, 1).
    """
    if not all(0 < share < 1 for share in shares):
        raise ValueError("a share of what one has lies in (0, 1)")
    log_e = np.asarray(log_e_T, dtype=np.float64).reshape(-1)
    share_L = np.asarray(shares, dtype=np.float64)
    steps_TL = np.logaddexp(np.log1p(-share_L), np.log(share_L) + log_e[:, None])
    had_TL = np.concatenate([np.zeros((1, len(share_L))), np.cumsum(steps_TL, axis=0)])
    return np.asarray(logsumexp(had_TL, axis=1) - math.log(len(share_L)), dtype=np.float64)


def lifted_log_e(log_sup: float) -> float:
    """Return ln of an e-value made of the largest value that an e-process has had, as its ln.

    With y that value it is (y - 1 - ln y) / (ln y)^2, at y = 1 one half. As P(y >= c) <= 1 / c for
    every c > 1 (Ville 1939), its mean is at most the integral of it over y^2 from 1 on, which is 1
    (Shafer, Shen, Vereshchagin and Vovk 2011, Statist. Sci. 26, 84-101, on calibrators; Dawid et
    al. 2011, Statist. Probab. Lett. 81, 157-162, on lifting). The mean stays so whoever looks when,
    and in whatever filtration (Choe and Ramdas 2024, arXiv 2402.09698). Raises ValueError below 0:
    a process starts at 1.
    """
    if not log_sup >= 0:
        raise ValueError("the largest value of an e-process is 1 at least")
    if log_sup < _NEAR_ONE:
        return math.log(0.5 + log_sup / 6 + log_sup**2 / 24)
    rest = -(1 + log_sup) * math.exp(-log_sup)
    return log_sup - 2 * math.log(log_sup) + math.log1p(rest)


def average_log_e(log_e: Sequence[float]) -> float:
    """Return ln of the average of e-values, an e-value whatever their dependence.

    Raises ValueError for none.
    """
    if not log_e:
        raise ValueError("an average takes one e-value at least")
    most = max(log_e)
    if math.isinf(most):
        return float(most)
    return most + math.log(math.fsum(math.exp(one - most) for one in log_e) / len(log_e))


def _green_log_e(rate: float, total_T: Floats, n_T: Floats) -> Floats:
    """Return ln of B(a, b) P(Beta(a, b) > rate) / ((1 - rate) rate^s (1 - rate)^(n - s)).

    With s successes of n, a = s + 1 and b = n - s + 1. Where the chance is too small, it is y^b
    rate^a / (b B(a, b)) (1 + (a + b) / (b + 1) y + ...) with y = 1 - rate (Abramowitz and Stegun
    1964, 26.5.4).
    """
    a_T, b_T = total_T + 1, n_T - total_T + 1
    if np.any((a_T < 1) | (b_T < 1)):
        raise ValueError("a sum of green bits lies between 0 and their number")
    y = 1 - rate
    chance_T = betainc(b_T, a_T, y)
    null_T = total_T * math.log(rate) + b_T * math.log(y)

    def series(rows: NDArray[np.bool_]) -> Floats:
        a, b = a_T[rows], b_T[rows]
        head = b * math.log(y) + a * math.log(rate) - np.log(b)
        return head + _log_series(lambda j: (a + b + j) / (b + 1 + j) * y)

    return _where_large(chance_T, betaln(a_T, b_T), series) - null_T


def _gumbel_log_e(total_T: Floats, n_T: Floats) -> Floats:
    """Return ln of the integral of (1 - t)^n e^(t x) over t in (0, 1).

    It is n! e^x x^-(n + 1) P(n + 1, x), with P the regularised incomplete gamma function; where
    that is too small, 1 / (n + 1) (1 + x / (n + 2) + x^2 / ((n + 2) (n + 3)) + ...).
    """
    if np.any(total_T < 0):
        raise ValueError("a sum of Gumbel's scores is not below 0")
    chance_T = gammainc(n_T + 1, total_T)
    logarithm_T = np.log(np.maximum(total_T, _LEAST))
    head_T = total_T + gammaln(n_T + 1) - (n_T + 1) * logarithm_T

    def series(rows: NDArray[np.bool_]) -> Floats:
        x, n = total_T[rows], n_T[rows]
        return _log_series(lambda j: x / (n + 2 + j)) - np.log(n + 1)

    return _where_large(chance_T, head_T, series)


def _where_large(
    chance_T: Floats, head_T: Floats, series: Callable[[NDArray[np.bool_]], Floats]
) -> Floats:
    """Return head_T + ln chance_T, or what `series` says of rows whose chance is too small."""
    small_T = chance_T < _LEAST
    found_T = np.asarray(head_T + np.log(np.where(small_T, 1.0, chance_T)), dtype=np.float64)
    if small_T.any():
        found_T[small_T] = series(small_T)
    return found_T


def _log_series(ratio: Callable[[int], Floats]) -> Floats:
    """Return ln of 1 + r(0) + r(0) r(1) + ..., whose ratios come to stay below 1."""
    term = np.ones_like(ratio(0))
    total, j = term.copy(), 0
    while np.any(term > _UNSEEN * total):
        term = term * ratio(j)
        total, j = total + term, j + 1
    return np.asarray(np.log(total), dtype=np.float64)
