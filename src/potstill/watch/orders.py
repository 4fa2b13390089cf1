"""Evidence of order: whether parties fit together in days and moments as strangers would not.

What was observed is one of B + 1 orders that a null hypothesis makes as likely (the others are
drawn, or all there are); a score says how well each shows what is looked for. (B + 1)
softmax(steepness * standard score) then has a mean of 1. Where parts are changed each by itself
(one party after the other, given all before it; one block of days after the other) each part's bet
has that mean given the parts before, so that the product has it too and is not bounded by how many
orders are drawn. Which parts, in which turn, hangs on nothing that an order changes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from potstill.stats.evalues import average_log_e
from potstill.watch.nulls import PlacedBet

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Volume = Mapping[tuple[int, int], Ints]
# The observed value for None, and so many that the null makes as likely for a generator.
Statistic = Callable[[np.random.Generator | None, int], Floats]

# The clock's bets have several steepnesses, of which the average counts; slot coverage's has one.
_CLOCK, _STEEPNESS = (0.5, 1.0, 2.0, 4.0), 2.5
# Changes that are drawn: of a party's hours; for figures; to tell who carries; of all days.
_TURNS, _FIGURE, _CARRYING, _LEAST, _MOST, _WORK = 199, 9, 99, 1_999, 19_999, 600_000_000
_SHARE_OF_FEW, _BLOCK_DAYS, _BLOCKS = 0.2, 3, 4
# Marks and parties that evenness is told by, the commonest mark, how steeply evenness counts, the
# share of the parties that have to use a mark.
_FEATURES, _PARTIES, _COMMON, _EVEN, _USED_BY = 160, 300, 0.1, 6.0, 0.3
# Numbers that are held at once while days are shuffled, and digits that a statistic is told by.
_CELLS, _DIGITS = 1 << 18, 9
_MINUTES = 1_440
# What the gentler of two null hypotheses has to give before the other one is tried.
_PROMISING = math.log(10)


def _together(scores: Sequence[Floats], bets: Sequence[float]) -> float:
    """Return ln of the average over `bets` of the product over parties.

    A party's scores begin with the observed order's; all have as many.
    """
    if not scores:
        return 0.0
    values_PO = np.stack(scores)
    return average_log_e([float(_placed(values_PO, bet).sum()) for bet in bets])


def _placed(values_PO: Floats, steepness: float) -> Floats:
    """Return ln of the bet on the first of each row of values, which are as likely as another."""
    spread_P = values_PO.std(1, keepdims=True)
    # Where all are alike there is nothing to bet on.
    even_P = spread_P <= 0
    standard_PO = (values_PO - values_PO.mean(1, keepdims=True)) / np.where(even_P, 1.0, spread_P)
    tilted_PO = steepness * np.where(even_P, 0.0, standard_PO)
    most_P = tilted_PO.max(1)
    whole_P = np.log(np.exp(tilted_PO - most_P[:, None]).sum(1)) + most_P
    return np.asarray(tilted_PO[:, 0] - whole_P + math.log(values_PO.shape[1]))


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
    number of even ones.

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
    log_e, first = 0.0, 0
    for part in np.array_split(np.arange(len(days)), blocks):
        before = _Work.of(residual_PDF[:, :first], n_PD[:, :first])
        mark_F = np.exp(-_EVEN / 2 * before.unevenness(before.as_it_was())[0])
        here = _Work.of(residual_PDF[:, part], n_PD[:, part])
        log_e += _permuted(partial(here.even, mark_F), here.residual_PDF.size)
        first = int(part[-1]) + 1
    whole, rng = _Work.of(residual_PDF, n_PD), np.random.default_rng(0)
    alike = np.ones(residual_PDF.shape[2])
    observed = float(whole.even(alike, None)[0])
    return PlacedBet(log_e, observed, float(whole.even(alike, rng, _FIGURE).mean()))


def _permuted(statistic: Statistic, work: int) -> float:
    """Return ln E of a bet on a statistic's place among its values under random changes that a
    null leaves alike.

    The observed value and B others are exchangeable, so that (B + 1) times the softmax of their
    standard scores has a mean of 1. Of two such bets the one with few others counts a fifth, the
    one with many the rest; that is placed only where the observed value lies above the mean of the
    few and 1.5 standard deviations, else it is 0: less than it may be. The larger the group, the
    fewer are drawn (`work` numbers each).
    """
    rng = np.random.default_rng(1)
    few = np.concatenate([statistic(None, 1), statistic(rng, _TURNS)])
    bets = [math.log(_SHARE_OF_FEW) + float(_placed(few[None], _STEEPNESS)[0])]
    if few[0] > few[1:].mean() + 1.5 * few[1:].std():
        count = int(np.clip(_WORK // max(work, 1), _LEAST, _MOST))
        many = np.concatenate([few, statistic(rng, count - _TURNS)])
        bets.append(math.log(1 - _SHARE_OF_FEW) + float(_placed(many[None], _STEEPNESS)[0]))
    return float(logsumexp(bets))


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

    def even(self, mark_F: Floats, rng: np.random.Generator | None, draws: int = 1) -> Floats:
        """Return the number of even marks, each weighed: as it was, or with `rng` in so many
        orders of days.

        It is rounded, so that orders that come to the same have the same number.
        """
        found, left = [], draws
        size = max(1, _CELLS // max(self.residual_PDF[:, :, 0].size * self.n_PD.shape[1], 1))
        while left:
            part = min(size, left)
            orders = self.as_it_was() if rng is None else self.shuffled(rng, part)
            found.append(np.exp(-_EVEN * self.unevenness(orders)) @ mark_F)
            left -= part
        return np.asarray(np.round(np.concatenate(found), _DIGITS), dtype=np.float64)


def _residuals(
    cell_R: Ints, row_M: Ints, code_M: Ints, parties: int, days: int
) -> tuple[Floats, Ints] | None:
    """Return what each party and day has of each mark beyond the party's own share, as [parties,
    days, F], and the requests of each, as [parties, days]; those that asked most come first."""
    codes, place_M = np.unique(code_M, return_inverse=True)
    n_PD = np.bincount(cell_R, minlength=parties * days).reshape(parties, days)
    most = np.argsort(-n_PD.sum(1), kind="stable")[:_PARTIES]
    count = np.bincount(place_M, minlength=len(codes))
    users = np.unique(place_M * parties + cell_R[row_M] // days) // parties
    used_by = np.bincount(users, minlength=len(codes))
    share = count / len(cell_R)
    # A slot has many values: what is common is part of a template. Ties by the code, so that the
    # order of rows decides nothing.
    may = np.flatnonzero(
        (share <= _COMMON) & (count >= 2 * days) & (used_by >= max(3, _USED_BY * parties))
    )
    chosen = np.sort(may[np.lexsort((codes[may], -share[may]))[:_FEATURES]])
    if not len(chosen):
        return None
    features, size = len(chosen), parties * days
    number = np.full(len(codes), -1, np.int64)
    number[chosen] = np.arange(features)
    hit = number[place_M] >= 0
    counts = np.bincount(
        cell_R[row_M[hit]] * features + number[place_M[hit]], minlength=size * features
    )
    count_PDF = counts.reshape(parties, days, features)[most].astype(np.float64)
    n_PD = n_PD[most]
    own_PF = count_PDF.sum(1) / n_PD.sum(1)[:, None]
    residual = count_PDF - n_PD[:, :, None] * own_PF[:, None, :]
    kept = residual[:, :, (residual**2).sum((0, 1)) > 0]
    return (np.asarray(kept), n_PD) if kept.shape[2] else None


@dataclass(frozen=True)
class _Moments:
    """Requests, sorted by party (those that asked most first): each one's day and second, and where
    it may be moved to inside its hour.

    `block_R` numbers a party's hours with one product; `level_R` is the volume of the others up to
    the request, all days of each product one after the other, `begins_R` and `width_R` that up to
    its hour and of it, `cumulated` that up to each minute.
    """

    day_R: Ints
    second_R: Ints
    block_R: Ints
    level_R: Floats
    begins_R: Floats
    width_R: Floats
    cumulated: Floats
    days: int
    names: tuple[int, ...]
    parties: tuple[slice, ...]

    def size(self, width: int) -> int:
        """Return how many bins of `width` minutes there are."""
        return self.days * (_MINUTES // width)

    def bins(self, rows: slice, width: int) -> Ints:
        """Return the bins of requests as they are."""
        clock = self.second_R[rows] // (60 * width)
        return np.asarray(self.day_R[rows] * (_MINUTES // width) + clock)

    def turned(self, rows: slice, width: int) -> Ints:
        """Return the bins with all days turned round, by 0, 1, ... days, as [days, n]."""
        day = (self.day_R[rows] + np.arange(self.days)[:, None]) % self.days
        return np.asarray(day * (_MINUTES // width) + self.second_R[rows] // (60 * width))

    def inside(self, rows: slice, width: int, rng: np.random.Generator, draws: int) -> Ints:
        """Return the bins as they are, and with each hour's requests turned round inside it."""
        block, begins, wide = self.block_R[rows], self.begins_R[rows], self.width_R[rows]
        by = rng.random((draws, int(block[-1] - block[0]) + 1))[:, block - block[0]]
        level = begins + wide * (((self.level_R[rows] - begins) / wide + by) % 1.0)
        minute = np.searchsorted(self.cumulated, level.ravel(), side="right") - 1
        # Products lie one after the other, each with all days.
        found = np.minimum(minute, len(self.cumulated) - 2) % (self.days * _MINUTES)
        drawn = (found // width).reshape(level.shape)
        return np.concatenate([self.bins(rows, width)[None], drawn])


def synchrony_log_e(
    party_R: Ints, day_R: Ints, second_R: Ints, product_R: Ints, volume_PDM: Volume,
    *, widths: Sequence[int] = (1, 5), apart: bool = False,
) -> PlacedBet | None:  # fmt: skip
    """Bet that parties act in the same minutes; with `apart`, that they avoid it.

    A party's score is how many requests of those before it lie in the bins of its own, bins of
    each of the `widths` in minutes, against two null hypotheses, of which the less rejected
    counts: the party's days are turned round by whole days (keeps each one's clock), and its
    requests of one hour and product are turned round inside that hour by the minute's volume of
    all others with the same product (keeps the rhythm that everybody shares, a launch, an outage).
    `volume_PDM` has that volume, by product and day. `observed` is the sum over the narrowest bins
    of squared requests, `expected` its mean with hours turned. None for fewer than two days or
    parties.
    """
    moments = _moments(party_R, day_R, second_R, product_R, volume_PDM)
    if moments.days < 2 or len(moments.parties) < 2:
        return None
    sign, rng = -1.0 if apart else 1.0, np.random.default_rng(0)
    least = average_log_e([_overlap(moments, width, sign) for width in widths])
    if least > _PROMISING:
        inside = average_log_e([_overlap(moments, width, sign, rng) for width in widths])
        least = min(least, inside)
    else:
        # The other null hypothesis is not tried: no evidence.
        least = -math.inf
    width = min(widths)
    squares = [
        float((np.bincount(bins, minlength=moments.size(width)) ** 2).sum())
        for bins in moments.inside(slice(None), width, rng, _FIGURE)
    ]
    return PlacedBet(least, squares[0], float(np.mean(squares[1:])))


def acting_together(
    party_R: Ints, day_R: Ints, second_R: Ints, product_R: Ints, volume_PDM: Volume,
    *, width: int = 1, apart: bool = False,
) -> list[int]:  # fmt: skip
    """Return the parties of a group that act in the others' minutes (or avoid them).

    Those are such that their score lies two standard deviations above its mean with hours turned:
    no test, but who carries what was found by one.
    """
    moments = _moments(party_R, day_R, second_R, product_R, volume_PDM)
    sign, rng = -1.0 if apart else 1.0, np.random.default_rng(0)
    size, found = moments.size(width), []
    whole = np.bincount(moments.bins(slice(None), width), minlength=size)
    for name, rows in zip(moments.names, moments.parties, strict=True):
        own = np.bincount(moments.bins(rows, width), minlength=size)
        score = sign * (whole - own)[moments.inside(rows, width, rng, _CARRYING)].sum(1)
        if score[0] > score[1:].mean() + 2 * score[1:].std():
            found.append(name)
    return sorted(found)


def _moments(
    party_R: Ints, day_R: Ints, second_R: Ints, product_R: Ints, volume_PDM: Volume
) -> _Moments:
    names, party_R, asked = np.unique(party_R, return_inverse=True, return_counts=True)
    turns = np.argsort(-asked, kind="stable")
    turn_R = np.argsort(turns)[party_R]
    numbers, place_R = np.unique(day_R, return_inverse=True)
    products, product_R = np.unique(product_R, return_inverse=True)
    days, none = len(numbers), np.zeros(_MINUTES, np.int64)
    there = [(int(product), int(day)) for product in products for day in numbers]
    volume = np.concatenate([volume_PDM.get(one, none) for one in there]).astype(np.float64) + 1.0
    cumulated = np.concatenate([[0.0], np.cumsum(volume)])
    minute_R = (product_R * days + place_R) * _MINUTES + second_R / 60
    hour_R = (minute_R // 60).astype(np.int64)
    order = np.lexsort((second_R, hour_R, turn_R))
    turn_R, hour_R, minute_R = turn_R[order], hour_R[order], minute_R[order]
    changes = (np.diff(turn_R, prepend=-1) != 0) | (np.diff(hour_R, prepend=-1) != 0)
    edges = [*np.flatnonzero(np.diff(turn_R, prepend=-1)).tolist(), len(turn_R)]
    return _Moments(
        day_R=place_R[order],
        second_R=second_R[order],
        block_R=np.cumsum(changes) - 1,
        level_R=np.interp(minute_R, np.arange(len(cumulated)), cumulated),
        begins_R=cumulated[hour_R * 60],
        width_R=cumulated[hour_R * 60 + 60] - cumulated[hour_R * 60],
        cumulated=cumulated,
        days=days,
        names=tuple(names[turns].tolist()),
        parties=tuple(slice(a, b) for a, b in itertools.pairwise(edges)),
    )


def _overlap(
    moments: _Moments, width: int, sign: float, rng: np.random.Generator | None = None
) -> float:
    """Return ln E that parties lie in one another's bins more (`sign` 1) or less (-1).

    Against days turned round, or with `rng` against hours.
    """
    before, scores = np.zeros(moments.size(width)), []
    for rows in moments.parties:
        if before.any():
            orders = moments.turned(rows, width)
            if rng is not None:
                orders = moments.inside(rows, width, rng, _TURNS)
            scores.append(sign * before[orders].sum(1))
        before += np.bincount(moments.bins(rows, width), minlength=len(before))
    return _together(scores, _CLOCK)
