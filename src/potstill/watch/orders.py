"""Evidence of order: whether parties fit together in days and moments as strangers would not.

What was observed is one of B + 1 orders that a null hypothesis makes as likely (the others are
drawn, or all there are); a score says how well each shows what is looked for. (B + 1)
softmax(steepness * standard score) then has a mean of 1. Where parts are changed each by itself
(one party after the other, given all before it; one block of days after the other) each part's bet
has that mean given the parts before, so that the product has it too and is not bounded by how many
orders are drawn. Which parts, in which turn, hangs on nothing that an order changes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from potstill.stats.evalues import average_log_e
from potstill.watch.nulls import PlacedBet

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# The observed value for None, and so many that the null makes as likely for a generator.
Statistic = Callable[[np.random.Generator | None, int], Floats]

_STEEPNESS = 2.5
# Orders of days that are drawn: few of all; for figures; and many, by how much work each is.
_FEW, _FIGURE, _LEAST, _MOST, _WORK = 199, 9, 1_999, 19_999, 600_000_000
_SHARE_OF_FEW, _BLOCK_DAYS, _BLOCKS = 0.2, 3, 4
# Marks and parties that evenness is told by, the commonest mark, how steeply evenness counts, the
# share of the parties that have to use a mark.
_FEATURES, _PARTIES, _COMMON, _EVEN, _USED_BY = 240, 300, 0.1, (6.0, 1.0), 0.3
# Numbers that are held at once while days are shuffled, and digits that a statistic is told by.
_CELLS, _DIGITS = 1 << 18, 9


def together_log_e(scores: Sequence[Floats], bets: Sequence[float]) -> float:
    """Return ln of the average over `bets` of the product over parties.

    A party's scores begin with the observed order's; all have as many.
    """
    if not scores:
        return 0.0
    return average_log_e([float(bet_P.sum()) for bet_P in placed_log_es(np.stack(scores), bets)])


def placed_log_e(values_PO: Floats, steepness: float) -> Floats:
    """Return ln of the bet on the first of each row of values, which are as likely as another."""
    return placed_log_es(values_PO, (steepness,))[0]


def placed_log_es(values_PO: Floats, steepnesses: Sequence[float]) -> list[Floats]:
    """Return the same for each of several steepnesses."""
    spread_P = values_PO.std(1, keepdims=True)
    # Where all are alike there is nothing to bet on.
    even_P = spread_P <= 0
    standard_PO = (values_PO - values_PO.mean(1, keepdims=True)) / np.where(even_P, 1.0, spread_P)
    standard_PO = np.where(even_P, 0.0, standard_PO)
    found = []
    for steepness in steepnesses:
        tilted_PO = steepness * standard_PO
        most_P = tilted_PO.max(1)
        whole_P = np.log(np.exp(tilted_PO - most_P[:, None]).sum(1)) + most_P
        found.append(np.asarray(tilted_PO[:, 0] - whole_P + math.log(values_PO.shape[1])))
    return found


def sharding_log_e(party_R: Ints, day_R: Ints, row_M: Ints, code_M: Ints) -> PlacedBet | None:
    """Bet that the parties' work fills up one another's gaps, day by day.

    Of R requests: whose each is, on which day; and M pairs of a request and a mark that it carries
    (a word, a slot of its sketch), each once. For a party, a day and a mark let r be how often it
    came beyond the party's own share of it, and T the sum over days of (sum over parties of r)^2,
    as a part of the sum over days and parties of r^2. Where parties act each for itself and the
    days that a party is there can be exchanged, shuffling its days changes nothing about any T,
    whatever it does: what it repeats, or works off evenly alone, it does in every order. Parties
    that are pushed the same way make T large. Work dealt out from one list makes it small for the
    marks that the list is ordered by: the statistic is the sum over marks of exp(-6 T), about the
    number of even ones. Where the list is asked in several languages, what is in one of them is a
    part of it that nobody chose, and T is between 0 and 1: the same is done with exp(-T), and the
    average of both bets is placed.

    Days are parted into blocks of three or more, in order, and shuffled inside each: the blocks'
    e-values are multiplied, since each block is shuffled by itself. In later blocks marks weigh
    the more, the more even they were in earlier ones. `observed` and `expected` are those of all
    days. None for fewer than two days or parties, or without marks that several use.
    """
    parties, party_R = np.unique(party_R, return_inverse=True)
    days, day_R = np.unique(day_R, return_inverse=True)
    if len(days) < 2 or len(parties) < 2:
        return None
    found = _residuals(party_R * len(days) + day_R, row_M, code_M, len(parties), len(days))
    if found is None:
        return None
    residual_PDF, n_PD = found
    blocks = max(1, min(len(days) // _BLOCK_DAYS, _BLOCKS))
    log_es, first = np.zeros(len(_EVEN)), 0
    for part in np.array_split(np.arange(len(days)), blocks):
        before = _Work.of(residual_PDF[:, :first], n_PD[:, :first])
        uneven_F = before.unevenness(before.as_it_was())[0]
        mark_EF = np.exp(-np.asarray(_EVEN)[:, None] / 2 * uneven_F)
        here = _Work.of(residual_PDF[:, part], n_PD[:, part])
        log_es += _permuted(partial(here.even, mark_EF), here.residual_PDF.size)
        first = int(part[-1]) + 1
    whole, rng = _Work.of(residual_PDF, n_PD), np.random.default_rng(0)
    alike = np.ones((len(_EVEN), residual_PDF.shape[2]))
    observed = float(whole.even(alike, None)[0, 0])
    expected = float(whole.even(alike, rng, _FIGURE)[:, 0].mean())
    return PlacedBet(average_log_e(list(log_es)), observed, expected)


def _permuted(statistic: Statistic, work: int) -> Floats:
    """Return ln E of bets on the place of statistics, [E], among their values under random changes
    that a null leaves alike.

    The observed value and B others are exchangeable, so that (B + 1) times the softmax of their
    standard scores has a mean of 1. Of two such bets the one with few others counts a fifth, the
    one with many the rest; that is placed only where the observed value lies above the mean of the
    few and two standard deviations, else it is 0: less than it may be. The larger the group, the
    fewer are drawn (`work` numbers each).
    """
    rng = np.random.default_rng(1)
    few_OE = np.concatenate([statistic(None, 1), statistic(rng, _FEW)])
    log_es = math.log(_SHARE_OF_FEW) + placed_log_e(few_OE.T, _STEEPNESS)
    promising_E = few_OE[0] > few_OE[1:].mean(0) + 2 * few_OE[1:].std(0)
    if promising_E.any():
        count = int(np.clip(_WORK // max(work, 1), _LEAST, _MOST))
        many_OE = np.concatenate([few_OE, statistic(rng, count - _FEW)])
        more = math.log(1 - _SHARE_OF_FEW) + placed_log_e(many_OE.T, _STEEPNESS)
        log_es = np.where(promising_E, np.logaddexp(log_es, more), log_es)
    return np.asarray(log_es)


@dataclass(frozen=True)
class _Work:
    """What each party did beyond its own share, by day and mark, and its requests by day."""

    residual_PDF: Floats
    n_PD: Ints
    squares_CF: Floats
    """Each party's squares, day by day."""

    @classmethod
    def of(cls, residual_PDF: Floats, n_PD: Ints) -> _Work:
        """Return the work of some days."""
        return cls(residual_PDF, n_PD, (residual_PDF**2).reshape(-1, residual_PDF.shape[2]))

    def as_it_was(self) -> Ints:
        """Return the order that was observed, as [1, parties, days]."""
        parties, days = self.n_PD.shape
        return np.broadcast_to(np.arange(days), (1, parties, days))

    def shuffled(self, rng: np.random.Generator, draws: int) -> Ints:
        """Return orders of each party's days, as [draws, parties, days]: which day comes then.

        Days on which a party did nothing stay: when somebody is there is no mark of shared work.
        """
        parties, days = self.n_PD.shape
        idle_PD = self.n_PD == 0
        own_PD = np.where(idle_PD, 2.0, 0.0) + np.arange(days) / max(days, 1)
        drawn_SPD = np.where(idle_PD, own_PD, rng.random((draws, parties, days))).argsort(2)
        order_SPD = np.empty_like(drawn_SPD)
        np.put_along_axis(order_SPD, own_PD.argsort(1)[None], drawn_SPD, 2)
        return order_SPD

    def unevenness(self, order_SPD: Ints) -> Floats:
        """Return T of each mark in each of S orders, as [S, F]; 1 for a mark that nobody used.

        Requests go along with their day, so that what a day is weighed by is found anew.
        """
        draws, parties, days = order_SPD.shape
        comes_SDC = np.zeros((draws, days, parties * days))
        cell_SPD = order_SPD + np.arange(parties)[:, None] * days
        s, d = np.arange(draws)[:, None, None], np.arange(days)
        comes_SDC[s, d, cell_SPD] = 1.0
        # Days that everybody works more on weigh no more.
        n_SD = comes_SDC @ self.n_PD.reshape(-1).astype(np.float64)
        weight_SD = 1 / np.maximum(n_SD, 1)
        weight_SC = np.empty((draws, parties * days))
        weight_SC[s, cell_SPD] = weight_SD[:, None, :]
        work_CF = self.residual_PDF.reshape(parties * days, self.residual_PDF.shape[2])
        sum_SDF = (comes_SDC.reshape(draws * days, parties * days) @ work_CF).reshape(
            draws, days, work_CF.shape[1]
        )
        whole_SF = weight_SC @ self.squares_CF
        used_SF = whole_SF > 0
        apart_SF = (weight_SD[:, :, None] * np.square(sum_SDF)).sum(1)
        return np.where(used_SF, apart_SF / np.where(used_SF, whole_SF, 1.0), 1.0)

    def even(self, mark_EF: Floats, rng: np.random.Generator | None, draws: int = 1) -> Floats:
        """Return the number of even marks, each weighed, as each of `_EVEN` counts them: as it was,
        or with `rng` in so many orders of days, as [draws, E].

        It is rounded, so that orders that come to the same have the same number.
        """
        found, left = [], draws
        size = max(1, _CELLS // max(self.residual_PDF[:, :, 0].size * self.n_PD.shape[1], 1))
        while left:
            part = min(size, left)
            orders = self.as_it_was() if rng is None else self.shuffled(rng, part)
            uneven_SF = self.unevenness(orders)
            each = [
                np.exp(-c * uneven_SF) @ mark_F for c, mark_F in zip(_EVEN, mark_EF, strict=True)
            ]
            found.append(np.stack(each, axis=1))
            left -= part
        return np.asarray(np.round(np.concatenate(found), _DIGITS), dtype=np.float64)


def _residuals(
    cell_R: Ints, row_M: Ints, code_M: Ints, parties: int, days: int
) -> tuple[Floats, Ints] | None:
    """Return what each party and day has of each mark beyond the party's own share, as [parties,
    days, F], and the requests of each, as [parties, days]; those that asked most come first."""
    n_PD = np.bincount(cell_R, minlength=parties * days).reshape(parties, days)
    most = np.argsort(-n_PD.sum(1), kind="stable")[:_PARTIES]
    codes, count, place_M = _numbered(code_M)
    # A slot has many values: what is common is part of a template.
    may = (count <= _COMMON * len(cell_R)) & (count >= 2 * days)
    kept = may[place_M]
    place_M, cell_M = place_M[kept], cell_R[row_M[kept]]
    users = np.sort(place_M * parties + cell_M // days)
    used_by = np.bincount(users[np.diff(users, prepend=-1) > 0] // parties, minlength=len(codes))
    may &= used_by >= max(3, _USED_BY * parties)
    # Ties by the code, so that the order of rows decides nothing.
    there = np.flatnonzero(may)
    chosen = np.sort(there[np.lexsort((codes[there], -count[there]))[:_FEATURES]])
    if not len(chosen):
        return None
    features, row_P = len(chosen), np.full(parties, -1, np.int64)
    row_P[most] = np.arange(len(most))
    number = np.full(len(codes), -1, np.int64)
    number[chosen] = np.arange(features)
    row_M = row_P[cell_M // days]
    hit = (number[place_M] >= 0) & (row_M >= 0)
    counts = np.bincount(
        (row_M[hit] * days + cell_M[hit] % days) * features + number[place_M[hit]],
        minlength=len(most) * days * features,
    )
    count_PDF = counts.reshape(len(most), days, features).astype(np.float64)
    n_PD = n_PD[most]
    own_PF = count_PDF.sum(1) / n_PD.sum(1)[:, None]
    residual = count_PDF - n_PD[:, :, None] * own_PF[:, None, :]
    kept = residual[:, :, (residual**2).sum((0, 1)) > 0]
    return (np.asarray(kept), n_PD) if kept.shape[2] else None


def _numbered(code_M: Ints) -> tuple[Ints, Ints, Ints]:
    """Return the codes there are, sorted, how often each comes, and each pair's place in them."""
    order = None if (np.diff(code_M) >= 0).all() else np.argsort(code_M, kind="stable")
    sorted_M = code_M if order is None else code_M[order]
    first = np.flatnonzero(np.diff(sorted_M, prepend=sorted_M[:1] - 1))
    count = np.diff(first, append=len(sorted_M))
    place_M = np.repeat(np.arange(len(first)), count)
    if order is not None:
        place_M[order] = place_M.copy()
    return sorted_M[first], count, place_M
