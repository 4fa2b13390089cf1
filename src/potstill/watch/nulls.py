"""Evidence about groups of parties: e-values against strangers (docs/methods/watch-signals.md).

Every function takes a group that something else chose, and returns ln E with what was observed and
what strangers would have shown. Each null hypothesis keeps what chose the group as it is. Nothing
here knows tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp
from scipy.stats import hypergeom

from potstill.stats.evalues import average_log_e, softmax_log_e

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# The observed value for None, and one that the null makes as likely for a generator.
Statistic = Callable[[np.random.Generator | None], float]

# Steepness of the bet on a standardised statistic: it pays where the statistic lies three standard
# deviations out, and was fixed before a detector was measured.
STEEPNESS = 3.0
# What links are worth, as bets of several sizes: the average of these is placed.
ODDS = (1.0, 10.0, 100.0)
_SCREEN, _MOST, _WORK = 199, 19_999, 40_000_000
# Marks and parties that evenness is told by, the commonest mark, how steeply evenness counts.
_FEATURES, _PARTIES, _COMMON, _EVEN = 384, 300, 0.1, 6.0
_MINUTES = 1_440


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


def hand_off_log_e(refused: tuple[int, int], answered: tuple[int, int]) -> PlacedBet | None:
    """Bet that refused requests are taken over by others more often than answered ones.

    Each is (requests, those of them that another party repeated at once). Given both sums, the
    refused ones among those repeated are hypergeometric where a refusal changes nothing (Fisher's
    exact test); of p the e-value is sqrt(1 / (4 p)), which has a mean of 1 at most (Vovk and Wang
    2021, Ann. Statist. 49, 1736-1754). None without a refusal or without an answer.
    """
    (n, k), (m, j) = refused, answered
    if not n or not m:
        return None
    log_p = float(hypergeom.logsf(k - 1, n + m, k + j, n))
    return PlacedBet(math.log(0.5) - 0.5 * log_p, float(k), n * (k + j) / (n + m))


def sharding_log_e(party_R: Ints, day_R: Ints, row_M: Ints, code_M: Ints) -> PlacedBet | None:
    """Bet that the parties' work fills up one another's gaps, day by day.

    Of R requests with a group's templates: whose each is, on which day; and M pairs of a request
    and a mark that it carries (a word, a slot of its sketch), each once. For party i, day d and a
    mark let r be how often it came beyond the party's own share of it, and T the sum over days of
    (sum over i of r)^2, as a part of the sum over days and i of r^2. Where parties act each for
    itself and a party's days can be exchanged, shuffling each party's days by themselves changes
    nothing about any T, whatever the party does: what it repeats, or works off evenly alone, it
    does in every order. Parties that are pushed the same way make T large. Work dealt out from one
    list makes it small for the marks that the list is ordered by: the statistic is the sum over
    marks of exp(-6 T), about the number of even ones. None for fewer than three days or
    two parties.
    """
    parties, party_R = np.unique(party_R, return_inverse=True)
    days, day_R = np.unique(day_R, return_inverse=True)
    if len(days) < 3 or len(parties) < 2:
        return None
    found = _residuals(party_R * len(days) + day_R, row_M, code_M, len(parties), len(days))
    if found is None:
        return None
    statistic = _Evenness(*found)
    bet = _permuted(statistic, found[0].size // 8)
    return PlacedBet(bet.log_e, bet.observed, bet.expected)


class _Evenness:
    """The sum over marks of exp(-6 T), as it is, and with each party's days in another order.

    Requests go along with their day, so that what a day is weighed by is found anew in each order:
    then every order is as likely as the one observed.
    """

    def __init__(self, residual_PDF: Floats, n_PD: Ints) -> None:
        self._residual_PDF, self._n_PD = residual_PDF, n_PD
        parties, days, marks = residual_PDF.shape
        self._squares_BF = (residual_PDF**2).reshape(parties * days, marks)
        # Days on which a party did nothing stay: when somebody is there is no mark of shared work.
        self._idle = n_PD == 0
        self._own = np.where(self._idle, 2.0, 0.0) + np.arange(days) / days
        self._places = self._own.argsort(1)

    def __call__(self, rng: np.random.Generator | None) -> float:
        shape = self._n_PD.shape
        order = np.broadcast_to(np.arange(shape[1]), shape)
        if rng is not None:
            drawn = np.where(self._idle, self._own, rng.random(shape)).argsort(1)
            order = np.empty(shape, np.int64)
            np.put_along_axis(order, self._places, drawn, 1)
        # Days that everybody works more on weigh no more.
        weight_D = 1 / np.maximum(np.take_along_axis(self._n_PD, order, 1).sum(0), 1)
        weight_PD = np.empty(shape)
        np.put_along_axis(weight_PD, order, np.broadcast_to(weight_D, shape), 1)
        shuffled = self._residual_PDF[np.arange(shape[0])[:, None], order]
        whole_F = weight_PD.reshape(-1) @ self._squares_BF
        even_F = weight_D @ shuffled.sum(0) ** 2 / whole_F
        return float(np.exp(-_EVEN * even_F).sum())


def _residuals(
    cell_R: Ints, row_M: Ints, code_M: Ints, parties: int, days: int
) -> tuple[Floats, Ints] | None:
    """Return what each party and day has of each mark beyond the party's own share, as [parties,
    days, F], and the requests of each, as [parties, days]."""
    codes, place_M, counts = np.unique(code_M, return_inverse=True, return_counts=True)
    share = counts / len(cell_R)
    spread = share * (1 - share)
    # A slot has many values: what is common is part of a template. Ties by the code, so that the
    # order of rows decides nothing.
    may = np.flatnonzero((share <= _COMMON) & (counts >= 2 * days))
    chosen = np.sort(may[np.lexsort((codes[may], -spread[may]))[:_FEATURES]])
    if not len(chosen):
        return None
    features, size = len(chosen), parties * days
    number = np.full(len(codes), -1, np.int64)
    number[chosen] = np.arange(features)
    hit = number[place_M] >= 0
    count = np.bincount(
        cell_R[row_M[hit]] * features + number[place_M[hit]], minlength=size * features
    )
    count_PDF = count.reshape(parties, days, features).astype(np.float64)
    n_PD = np.bincount(cell_R, minlength=size).reshape(parties, days)
    largest = np.sort(np.argsort(-n_PD.sum(1), kind="stable")[:_PARTIES])
    count_PDF, n_PD = count_PDF[largest], n_PD[largest]
    own_PF = count_PDF.sum(1) / n_PD.sum(1)[:, None]
    residual = count_PDF - n_PD[:, :, None] * own_PF[:, None, :]
    return np.asarray(residual[:, :, (residual**2).sum((0, 1)) > 0]), n_PD


def synchrony_log_e(
    party_R: Ints, day_R: Ints, second_R: Ints, product_R: Ints,
    volume_PDM: Mapping[tuple[int, int], Ints], *, width: int = 1, apart: bool = False,
) -> PlacedBet | None:  # fmt: skip
    """Bet that parties act in the same `width` minutes; with `apart`, that they avoid it.

    The statistic is the sum over bins of (requests of all parties)^2, against two null hypotheses,
    of which the less rejected counts: each party's days are turned round by whole days (keeps each
    one's clock), and each party's requests of one hour and product are turned round inside that
    hour by the minute's volume of all others with the same product (keeps the rhythm that
    everybody shares, a launch, an outage). `volume_PDM` has that volume, by product and day. None
    for fewer than three days or two parties.
    """
    parties, party_R = np.unique(party_R, return_inverse=True)
    numbers, place_R = np.unique(day_R, return_inverse=True)
    if len(numbers) < 3 or len(parties) < 2:
        return None
    products, product_R = np.unique(product_R, return_inverse=True)
    days, sign = len(numbers), -1.0 if apart else 1.0
    bins = _MINUTES // width
    none = np.zeros(_MINUTES, np.int64)
    there = [(int(product), int(day)) for product in products for day in numbers]
    volume = np.concatenate([volume_PDM.get(one, none) for one in there]).astype(np.float64) + 1.0
    cumulated = np.concatenate([[0.0], np.cumsum(volume)])
    # The days of each product one after the other.
    minute_R = (product_R * days + place_R) * _MINUTES + second_R / 60
    level_R = np.interp(minute_R, np.arange(len(cumulated)), cumulated)
    hour_R = (minute_R // 60).astype(np.int64)
    begins_R = cumulated[hour_R * 60]
    width_R = cumulated[hour_R * 60 + 60] - begins_R
    _, block_R = np.unique(party_R * (len(there) * 24) + hour_R, return_inverse=True)
    blocks = int(block_R.max()) + 1
    clock_R = (second_R // (60 * width)).astype(np.int64)

    def score(bin_R: Ints) -> float:
        return sign * float((np.bincount(bin_R, minlength=days * bins) ** 2).sum())

    def turned(rng: np.random.Generator | None) -> float:
        if rng is None:
            return score(place_R * bins + clock_R)
        by = rng.integers(0, days, len(parties))
        return score((place_R + by[party_R]) % days * bins + clock_R)

    def inside(rng: np.random.Generator | None) -> float:
        if rng is None:
            return turned(None)
        by = rng.random(blocks)[block_R]
        level = begins_R + width_R * (((level_R - begins_R) / width_R + by) % 1.0)
        found = np.searchsorted(cumulated, level, side="right") - 1
        found = np.minimum(found, len(there) * _MINUTES - 1) % (days * _MINUTES)
        return score(found // width)

    least = _permuted(turned, len(party_R))
    if least.log_e > -math.inf:
        least = min(least, _permuted(inside, 8 * len(party_R)), key=lambda one: one.log_e)
    return PlacedBet(least.log_e, sign * least.observed, sign * least.expected)


def _permuted(statistic: Statistic, work: int) -> PlacedBet:
    """Bet on a statistic's place among its values under random changes that a null leaves alike.

    Under the null the observed value and B others are exchangeable, so that (B + 1) times the
    softmax of their standard scores has a mean of 1. 199 others are tried first, and where the
    observed value lies below their mean and 1.5 standard deviations, E is 0: less than it may be.
    The larger the group, the fewer are drawn (`work` numbers each).
    """
    rng = np.random.default_rng(0)
    observed = statistic(None)
    screen = np.array([statistic(rng) for _ in range(_SCREEN)])
    mean, deviation = float(screen.mean()), float(screen.std())
    if not observed > mean + 1.5 * deviation:
        return PlacedBet(-math.inf, observed, mean)
    count = int(np.clip(_WORK // max(work, 1), 999, _MOST))
    values = np.array([observed, *(statistic(rng) for _ in range(count))])
    spread = float(values.std())
    if spread == 0:
        return PlacedBet(0.0, observed, mean)
    scores = (values - values.mean()) / spread
    return PlacedBet(softmax_log_e(scores, STEEPNESS), observed, float(values[1:].mean()))
