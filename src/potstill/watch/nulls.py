"""Evidence about groups of parties: e-values against strangers (docs/methods/watch-signals.md).

Every function takes a group that something else chose, and returns ln E with what was observed and
what strangers would have shown. Each null hypothesis keeps what chose the group as it is. Nothing
here knows tables.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
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


@dataclass(frozen=True)
class SharedValues:
    """What parties have of one kind, with what is the same for every group that is bet on.

    What one party alone has changes no bet, so that it is left out. Of E pairs of a pattern and a
    stratum, `count_E` is how many parties of the stratum have a value of the pattern; `times_U` is
    how many values have each pattern.
    """

    stratum_N: Ints
    value_N: Ints
    size_S: Ints
    pattern_E: Ints
    stratum_E: Ints
    count_E: Ints
    times_U: Ints

    @classmethod
    def of(cls, stratum_N: Ints, value_N: Ints) -> SharedValues:
        """Return what N parties have: the value (-1 for none) and the stratum of each."""
        strata = int(stratum_N.max(initial=-1)) + 1
        count_V = np.bincount(value_N[value_N >= 0], minlength=1)
        many = np.flatnonzero((value_N >= 0) & (count_V[value_N] > 1))
        cells, count = np.unique(value_N[many] * strata + stratum_N[many], return_counts=True)
        edges = np.flatnonzero(np.diff(cells // max(strata, 1), prepend=-1))
        patterns = Counter(
            (tuple((cells[a:b] % strata).tolist()), tuple(count[a:b].tolist()))
            for a, b in itertools.pairwise([*edges.tolist(), len(cells)])
        )
        known = sorted(patterns)
        return cls(
            stratum_N=stratum_N,
            value_N=value_N,
            size_S=np.bincount(stratum_N, minlength=strata),
            pattern_E=np.repeat(np.arange(len(known)), [len(places) for places, _ in known]),
            stratum_E=np.array([one for places, _ in known for one in places], np.int64),
            count_E=np.array([one for _, counts in known for one in counts], np.int64),
            times_U=np.array([patterns[one] for one in known], np.int64),
        )

    def log_e(self, group: Sequence[int], odds: Sequence[float] = ODDS) -> PlacedBet | None:
        """Bet on the links among a group, against parties drawn at random within each stratum.

        Of N parties `value_N` is the value that each has of one kind (-1 for none), and `stratum_N`
        its stratum; `group` are places. With g_v members that have value v the bet is the product
        over v of (1 + odds)^max(g_v - 1, 0), divided by a bound of its mean. Under sampling without
        replacement memberships are negatively associated (Joag-Dev and Proschan 1983, Ann. Statist.
        11, 286-295, 3.1 (a)), each factor grows with the memberships of its own parties alone, and
        its mean is at most that of independent members (Hoeffding 1963, JASA 58, 13-30, theorem 4),
        so that E has a mean of 1 at most. None where no member has a value.
        """
        members = np.asarray(sorted(group), np.int64)
        mine = self.value_N[members]
        mine = mine[mine >= 0]
        if not len(mine):
            return None
        inside_S = np.bincount(self.stratum_N[members], minlength=len(self.size_S))
        share_E = (inside_S / np.maximum(self.size_S, 1))[self.stratum_E]
        extra = len(mine) - len(np.unique(mine))

        def summed(each_E: Floats) -> Floats:
            weights = each_E * self.count_E
            each_U = np.bincount(self.pattern_E, weights=weights, minlength=len(self.times_U))
            return np.asarray(each_U, dtype=np.float64)

        with np.errstate(divide="ignore"):
            none_U = summed(np.log1p(-share_E))
        bets = []
        for odd in odds:
            raised_U = summed(np.log1p(odd * share_E))
            # P(0) + (mean of (1 + odd)^g - P(0)) / (1 + odd), as a logarithm.
            mean_U = np.logaddexp(none_U + math.log(odd / (1 + odd)), raised_U - math.log1p(odd))
            bets.append(float(extra * math.log1p(odd) - (mean_U * self.times_U).sum()))
        expected = ((summed(share_E) - (1 - np.exp(none_U))) * self.times_U).sum()
        return PlacedBet(average_log_e(bets), float(extra), float(expected))


@dataclass(frozen=True)
class Askers:
    """Which parties ask so, with what is the same for every group: of each stratum those of whom it
    is known, and those who do."""

    stratum_N: Ints
    asks_N: Ints
    every_S: Ints
    asking_S: Ints

    @classmethod
    def of(cls, stratum_N: Ints, asks_N: Ints) -> Askers:
        """Return whether N parties ask so: 1, 0, or -1 where that is not known."""
        strata = int(stratum_N.max(initial=-1)) + 1
        every_S = np.bincount(stratum_N[asks_N >= 0], minlength=strata)
        asking_S = np.bincount(stratum_N[asks_N == 1], minlength=strata)
        return cls(stratum_N, asks_N, every_S, asking_S)

    def log_e(self, group: Sequence[int], odds: Sequence[float] = ODDS) -> PlacedBet | None:
        """Bet that more of a group ask so than of parties drawn at random within each stratum.

        `asks_N` is 1, 0, or -1 for parties without text. In a stratum with n of its N parties in
        the group, of which K ask so, those among the n are hypergeometric: nothing is estimated.
        With k that ask so in all strata the bet is (1 + odds)^k, divided by its mean, which is the
        product of the strata's. None where no stratum has a party of the group beside another one.
        """
        members = np.asarray(sorted(group), np.int64)
        members = members[self.asks_N[members] >= 0]
        mine_S = np.bincount(self.stratum_N[members], minlength=len(self.every_S))
        drawn = np.flatnonzero((mine_S > 0) & (mine_S < self.every_S))
        if not len(drawn):
            return None
        raise_O = np.log1p(np.asarray(odds))
        log_mean_O = np.zeros(len(raise_O))
        for every, asking, mine in zip(
            self.every_S[drawn], self.asking_S[drawn], mine_S[drawn], strict=True
        ):
            log_mean_O += _log_mean(int(every), int(asking), int(mine), tuple(odds))
        counted = members[np.isin(self.stratum_N[members], drawn)]
        found = int((self.asks_N[counted] == 1).sum())
        expected = float((mine_S[drawn] * self.asking_S[drawn] / self.every_S[drawn]).sum())
        return PlacedBet(average_log_e(list(found * raise_O - log_mean_O)), float(found), expected)


@lru_cache(maxsize=1 << 16)
def _log_mean(every: int, asking: int, mine: int, odds: tuple[float, ...]) -> Floats:
    """Return ln of the mean of (1 + odds)^k where k of `mine` are among the `asking` of `every`."""
    raise_O = np.log1p(np.asarray(odds))
    k = np.arange(max(0, mine + asking - every), min(mine, asking) + 1)
    log_pmf_K = (
        _log_choose(asking, k) + _log_choose(every - asking, mine - k) - _log_choose(every, mine)
    )
    raised_OK = log_pmf_K + raise_O[:, None] * k
    most_O = raised_OK.max(1)
    return np.asarray(most_O + np.log(np.exp(raised_OK - most_O[:, None]).sum(1)))


def _log_choose(n: int, k: Ints | int) -> Floats:
    return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1), dtype=np.float64)


@dataclass(frozen=True)
class CommonValues:
    """Values that very many parties have, each as a question who has it."""

    values: tuple[Askers, ...]

    @classmethod
    def of(cls, stratum_N: Ints, value_N: Ints) -> CommonValues:
        """Return the values that N parties have, -1 for none of them."""
        values = np.unique(value_N[value_N >= 0]).tolist()
        each = (Askers.of(stratum_N, (value_N == value).astype(np.int64)) for value in values)
        return cls(tuple(each))

    def log_e(self, group: Sequence[int], odds: Sequence[float] = ODDS) -> PlacedBet | None:
        """Bet that more of a group have one of the common values, as a relay's network.

        Each value is bet on as in `Askers`; the average over values has a mean of 1 at most,
        whatever they have to do with one another. Observed is how many have the value that says
        most. None where no value could be bet on.
        """
        each = (value.log_e(group, odds) for value in self.values)
        bets = [bet for bet in each if bet is not None]
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
