"""Evidence about groups of parties: e-values against strangers (docs/methods/watch-signals.md).

Every function takes a group that something else chose, and returns ln E with what was observed and
what strangers would have shown. Each null hypothesis keeps what chose the group as it is. Nothing
here knows tables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import hypergeom

from potstill.stats.evalues import average_log_e

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# What links are worth, as bets of several sizes: the average of these is placed.
ODDS = (1.0, 10.0, 100.0)


@dataclass(frozen=True)
class PlacedBet:
    """ln E of one signal, and the figure that it comes from beside what strangers would show."""

    log_e: float
    observed: float
    expected: float


def links_log_e(
    group: Sequence[int], stratum_N: Ints, value_N: Ints, odds: Sequence[float] = ODDS
) -> PlacedBet | None:
    """Bet on the links among a group, against parties drawn at random within each stratum.

    Of N parties `value_N` is the value that each has of one kind (-1 for none), and `stratum_N`
    its stratum; `group` are places. With g_v members that have value v the bet is the product over
    v of (1 + odds)^max(g_v - 1, 0), divided by a bound of its mean. Under sampling without
    replacement memberships are negatively associated (Joag-Dev and Proschan 1983, Ann. Statist.
    11, 286-295, 3.1 (a)), each factor grows with the memberships of its own parties alone, and its
    mean is at most that of independent members (Hoeffding 1963, JASA 58, 13-30, theorem 4), so
    that E has a mean of 1 at most. None where no member has a value.
    """
    members = np.asarray(sorted(group), np.int64)
    has = value_N >= 0
    if not has[members].any():
        return None
    strata = int(stratum_N.max()) + 1
    inside = np.bincount(stratum_N[members], minlength=strata)
    share_N = (inside / np.maximum(np.bincount(stratum_N, minlength=strata), 1))[stratum_N]
    values, place = np.unique(value_N[has], return_inverse=True)
    share, mine = share_N[has], np.isin(np.flatnonzero(has), members)
    count_V = np.bincount(place, weights=mine, minlength=len(values))
    with np.errstate(divide="ignore"):
        none_V = np.bincount(place, weights=np.log1p(-share), minlength=len(values))
    some_V = np.bincount(place, weights=share, minlength=len(values))
    bets = []
    for odd in odds:
        raised_V = np.bincount(place, weights=np.log1p(odd * share), minlength=len(values))
        # P(0) + (mean of (1 + odd)^g - P(0)) / (1 + odd), as a logarithm.
        mean_V = np.logaddexp(none_V + math.log(odd / (1 + odd)), raised_V - math.log1p(odd))
        extra = np.maximum(count_V - 1, 0).sum()
        bets.append(float(extra * math.log1p(odd) - mean_V.sum()))
    expected = float((some_V - (1 - np.exp(none_V))).sum())
    return PlacedBet(average_log_e(bets), float(np.maximum(count_V - 1, 0).sum()), expected)


def askers_log_e(
    group: Sequence[int], stratum_N: Ints, asks_N: Ints, odds: Sequence[float] = ODDS
) -> PlacedBet | None:
    """Bet that more parties of a group ask so than if they were drawn at random in each stratum.

    `asks_N` is 1, 0, or -1 for parties without text. In a stratum with n of its N parties in the
    group, of which K ask so, those among the n are hypergeometric: nothing is estimated. With k
    that ask so in all strata the bet is (1 + odds)^k, divided by its mean, which is the product of
    the strata's. None where no stratum has a party of the group beside another one.
    """
    inside = np.zeros(len(asks_N), np.bool_)
    inside[list(group)] = True
    known, strata = asks_N >= 0, int(stratum_N.max()) + 1
    every = np.bincount(stratum_N[known], minlength=strata)
    asking = np.bincount(stratum_N[known & (asks_N == 1)], minlength=strata)
    mine = np.bincount(stratum_N[known & inside], minlength=strata)
    drawn = np.flatnonzero((mine > 0) & (mine < every))
    if not len(drawn):
        return None
    raise_O = np.log1p(np.asarray(odds))
    log_mean_O = np.zeros(len(raise_O))
    for one in drawn:
        k = np.arange(min(mine[one], asking[one]) + 1)
        log_pmf_K = hypergeom.logpmf(k, every[one], asking[one], mine[one])
        log_mean_O += logsumexp(log_pmf_K[:, None] + k[:, None] * raise_O, axis=0)
    counted = inside & np.isin(stratum_N, drawn)
    found = int((asks_N[counted] == 1).sum())
    expected = float((mine[drawn] * asking[drawn] / every[drawn]).sum())
    return PlacedBet(average_log_e(list(found * raise_O - log_mean_O)), float(found), expected)


def common_log_e(
    group: Sequence[int], stratum_N: Ints, value_N: Ints, odds: Sequence[float] = ODDS
) -> PlacedBet | None:
    """Bet that more of a group have one of the values that very many have, as a relay's network.

    Each value is bet on as in `askers_log_e`; the average over values has a mean of 1 at most,
    whatever they have to do with one another. Observed is how many have the value that says most.
    None where no value could be bet on.
    """
    bets = []
    for value in np.unique(value_N[value_N >= 0]).tolist():
        bet = askers_log_e(group, stratum_N, (value_N == value).astype(np.int64), odds)
        if bet is not None:
            bets.append(bet)
    if not bets:
        return None
    best = max(bets, key=lambda one: one.log_e)
    return PlacedBet(average_log_e([one.log_e for one in bets]), best.observed, best.expected)


def hand_off_log_e(refused: tuple[int, int], answered: tuple[int, int]) -> PlacedBet | None:
    """Bet that refused requests are taken over by others more often than answered ones.

    Each is (requests, those of them that another party repeated at once). Given both sums, the
    refused ones among those repeated are hypergeometric where a refusal changes nothing (Fisher's
    exact test); of p the e-value is sqrt(1 / (4 p)), which has a mean of 1 at most (Vovk and Wang
    2021, Ann. Statist. 49, 1736-1754). None without a refusal, an answer, or one that was repeated:
    these sums are given.
    """
    (n, k), (m, j) = refused, answered
    if not n or not m or not k + j:
        return None
    log_p = float(hypergeom.logsf(k - 1, n + m, k + j, n))
    return PlacedBet(math.log(0.5) - 0.5 * log_p, float(k), n * (k + j) / (n + m))
