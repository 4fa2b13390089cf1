"""Evidence of moments: whether the parties of a group act together, or avoid one another.

As in `orders`, each party's moments are changed by themselves, given those before it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from potstill.stats.evalues import average_log_e
from potstill.stats.multiple import adaptive_bh
from potstill.watch.nulls import PlacedBet
from potstill.watch.orders import together_log_e

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Volume = Mapping[tuple[int, int], Ints]

# The average over bets of several steepnesses counts.
_STEEPNESSES = (0.5, 1.0, 2.0, 4.0)
# Turns of a party's hours that are drawn: for the bet; for figures; to tell who carries.
_TURNS, _FIGURE, _CARRYING = 199, 9, 199
# How many times as much as hours turned give somebody acts in the others' minutes to carry it.
_MORE = 1.5
# Of those that carry it so many may be false.
_FALSE = 0.1
# Hours whose order can tell something: of five there are 120.
_ORDERED = 5
_MINUTES, _HOURS, _AN_HOUR = 1_440, 24, 60
# Equal parts of an hour's volume: requests are turned inside their hour by a number of these.
_PARTS = 1_024
# What the gentler of two null hypotheses has to give before the other one is tried.
_PROMISING = math.log(10)


@dataclass(frozen=True)
class Acts:
    """Requests of a group, sorted by party (those that asked most first): day and second of each,
    and where it may be moved to inside its hour.

    `block_R` numbers a party's hours with one product; `part_R` is the part of that hour's volume
    that the request lies in, and `hour_R` the hour's row in `minute_HQ`, which has the minute that
    each part lies in. `names` are the parties' codes.
    """

    day_R: Ints
    second_R: Ints
    block_R: Ints
    part_R: Ints
    hour_R: Ints
    minute_HQ: NDArray[np.int32]
    days: int
    names: tuple[int, ...]
    parties: tuple[slice, ...]

    def size(self, width: int) -> int:
        """Return how many bins of `width` minutes there are."""
        return self.days * (_MINUTES // width)

    def bins(self, width: int) -> Ints:
        """Return the bins of requests as they are."""
        clock = self.second_R // (60 * width)
        return np.asarray(self.day_R * (_MINUTES // width) + clock)

    def turned(self, width: int) -> NDArray[np.int32]:
        """Return the bins with all days turned round, by 0, 1, ... days, as [days, R]."""
        day_DR = (self.day_R + np.arange(self.days)[:, None]) % self.days
        clock_R = self.second_R // (60 * width)
        return (day_DR * (_MINUTES // width) + clock_R).astype(np.int32)

    def inside(self, rows: slice, width: int, rng: np.random.Generator, draws: int) -> Ints:
        """Return the bins as they are, and with each hour's requests turned round inside it.

        What is turned is told by parts of the hour's volume, so the first row is, too.
        """
        block_R = self.block_R[rows] - self.block_R[rows.start or 0]
        by_SB = rng.integers(0, _PARTS, (draws, int(block_R[-1]) + 1), np.int32)
        by_SR = np.concatenate([np.zeros((1, len(block_R)), np.int32), by_SB[:, block_R]])
        part_SR = (self.part_R[rows] + by_SR) % _PARTS
        minute_SR = self.minute_HQ.reshape(-1)[self.hour_R[rows] * _PARTS + part_SR]
        first_R = self.day_R[rows] * _HOURS + self.second_R[rows] // 3600
        return np.asarray(first_R * (_AN_HOUR // width) + minute_SR // width)


def acts_of(
    party_R: Ints, day_R: Ints, second_R: Ints, product_R: Ints, volume_PDM: Volume
) -> Acts:
    """Return the requests of a group: whose each is, when it was made, and with which product.

    `volume_PDM` is the volume a minute of all others, by product and day.
    """
    names, party_R, asked = np.unique(party_R, return_inverse=True, return_counts=True)
    turns = np.argsort(-asked, kind="stable")
    turn_R = np.argsort(turns)[party_R]
    numbers, place_R = np.unique(day_R, return_inverse=True)
    hour_R = (product_R * len(numbers) + place_R) * _HOURS + second_R // 3600
    order = np.lexsort((second_R, hour_R, turn_R))
    turn_R, hour_R, second_R = turn_R[order], hour_R[order], second_R[order]
    hours, row_R = np.unique(hour_R, return_inverse=True)
    share_HM = _shares(hours, numbers, volume_PDM)
    begins_HM = np.cumsum(share_HM, axis=1) - share_HM
    minute_R = second_R % 3600 // 60
    level_R = begins_HM[row_R, minute_R] + share_HM[row_R, minute_R] * (second_R % 60) / 60
    changes = (np.diff(turn_R, prepend=-1) != 0) | (np.diff(hour_R, prepend=-1) != 0)
    edges = [*np.flatnonzero(np.diff(turn_R, prepend=-1)).tolist(), len(turn_R)]
    return Acts(
        day_R=place_R[order],
        second_R=second_R,
        block_R=np.cumsum(changes) - 1,
        part_R=np.minimum((level_R * _PARTS).astype(np.int64), _PARTS - 1),
        hour_R=row_R,
        minute_HQ=_minutes(begins_HM),
        days=len(numbers),
        names=tuple(names[turns].tolist()),
        parties=tuple(slice(a, b) for a, b in itertools.pairwise(edges)),
    )


def _shares(hours: Ints, days: Ints, volume_PDM: Volume) -> Floats:
    """Return which share of an hour's volume each of its minutes has, one more request in each."""
    product_H, rest_H = np.divmod(hours, len(days) * _HOURS)
    place_H, hour_H = np.divmod(rest_H, _HOURS)
    share_HM = np.ones((len(hours), _AN_HOUR))
    for number, (product, place, hour) in enumerate(
        zip(product_H.tolist(), place_H.tolist(), hour_H.tolist(), strict=True)
    ):
        volume_M = volume_PDM.get((product, int(days[place])))
        if volume_M is not None:
            share_HM[number] += volume_M[hour * _AN_HOUR : (hour + 1) * _AN_HOUR]
    return np.asarray(share_HM / share_HM.sum(1, keepdims=True))


def _minutes(begins_HM: Floats) -> NDArray[np.int32]:
    """Return the minute that the middle of each part of an hour's volume lies in."""
    first_HM = np.ceil(begins_HM * _PARTS - 0.5).astype(np.int64).clip(0, _PARTS)
    ends_HM = np.concatenate([first_HM[:, 1:], np.full((len(first_HM), 1), _PARTS)], axis=1)
    minute_X = np.tile(np.arange(_AN_HOUR, dtype=np.int32), len(first_HM))
    return np.repeat(minute_X, (ends_HM - first_HM).reshape(-1)).reshape(-1, _PARTS)


def synchrony_log_e(
    acts: Acts, *, widths: Sequence[int] = (1, 5), apart: bool = False
) -> PlacedBet | None:
    """Bet that parties act in the same minutes; with `apart`, that they avoid it.

    A party's score is how many requests of those before it lie in the bins of its own, bins of
    each of the `widths` in minutes, against two null hypotheses, of which the less rejected
    counts: the party's days are turned round by whole days (keeps each one's clock), and its
    requests of one hour and product are turned round inside that hour by the minute's volume of
    all others with the same product (keeps the rhythm that everybody shares, a launch, an outage).
    `observed` is the sum over the narrowest bins of squared requests, `expected` its mean with
    hours turned. Of one day alone days cannot be turned, and the other null hypothesis stands for
    itself; nobody is found to avoid the others then. None for fewer than two parties.
    """
    if len(acts.parties) < 2 or (apart and acts.days < 2):
        return None
    sign, rng = -1.0 if apart else 1.0, np.random.default_rng(0)
    least = math.inf
    if acts.days > 1:
        least = average_log_e([_overlap(acts, width, sign) for width in widths])
    if least > _PROMISING:
        inside = average_log_e([_overlap(acts, width, sign, rng) for width in widths])
        least = min(least, inside)
    else:
        # The other null hypothesis is not tried: no evidence.
        least = -math.inf
    width = min(widths)
    squares = [
        float((np.bincount(bins, minlength=acts.size(width)) ** 2).sum())
        for bins in acts.inside(slice(None), width, rng, _FIGURE)
    ]
    observed = float((np.bincount(acts.bins(width), minlength=acts.size(width)) ** 2).sum())
    return PlacedBet(least, observed, float(np.mean(squares[1:])))


def acting_together(acts: Acts, *, width: int = 1, apart: bool = False) -> list[int]:
    """Return the parties of a group that act in the others' minutes (or avoid them).

    A party's p-value is its score's place among those that `_CARRYING` turns of its hours give; of
    acting together also among those of its hours in other orders (`hours_in_order_p`), and the
    larger of both counts, so that a timer is not taken for company. Who carries it is told at a
    false discovery rate of a tenth among the group's parties, so that in a group in which all do,
    those who ask little are told too, and where nobody can be told apart, nobody is. The score is
    half as much again as the turns' mean (or half as much, of those that avoid it): who asks very
    much is far from them by chance. No test, but who carries what was found by one.
    """
    sign, rng = -1.0 if apart else 1.0, np.random.default_rng(0)
    bins_R, size = acts.bins(width), acts.size(width)
    whole = np.bincount(bins_R, minlength=size)
    p_P, enough_P = np.ones(len(acts.names)), np.zeros(len(acts.names), np.bool_)
    for number, rows in enumerate(acts.parties):
        own = np.bincount(bins_R[rows], minlength=size)
        score = sign * (whole - own)[acts.inside(rows, width, rng, _CARRYING)].sum(1)
        mean = score[1:].mean()
        enough_P[number] = score[0] >= _MORE * mean if sign > 0 else 2 * score[0] >= mean
        p_P[number] = (score >= score[0]).mean()
    if not apart:
        p_P = np.maximum(p_P, hours_in_order_p(acts, width))
    told_P = np.asarray(adaptive_bh(p_P.tolist(), _FALSE), np.bool_)
    return sorted(acts.names[number] for number in np.flatnonzero(told_P & enough_P).tolist())


def hours_in_order_p(acts: Acts, width: int) -> Floats:
    """Return each party's place among its hours in other orders, each with all that is in it.

    Its score is how many requests of the others lie in its bins. 0 for a party of so few hours that
    their order tells nothing: it counts by its turns alone.
    """
    bins_R, size, rng = acts.bins(width), acts.size(width), np.random.default_rng(1)
    whole, each = np.bincount(bins_R, minlength=size), _AN_HOUR // width
    p_P = np.zeros(len(acts.names))
    for number, rows in enumerate(acts.parties):
        hour, place = np.unique(bins_R[rows] // each, return_inverse=True)
        if len(hour) >= _ORDERED:
            others = whole - np.bincount(bins_R[rows], minlength=size)
            orders = rng.random((_CARRYING, len(hour))).argsort(1)
            hour_OJ = np.concatenate([hour[None], hour[orders]])
            score = others[hour_OJ[:, place] * each + bins_R[rows] % each].sum(1)
            p_P[number] = (score >= score[0]).mean()
    return p_P


def _overlap(acts: Acts, width: int, sign: float, rng: np.random.Generator | None = None) -> float:
    """Return ln E that parties lie in one another's bins more (`sign` 1) or less (-1).

    Against days turned round, or with `rng` against hours.
    """
    bins_R, turned_DR = acts.bins(width), acts.turned(width)
    before, scores = np.zeros(acts.size(width), np.int64), []
    for number, rows in enumerate(acts.parties):
        if number:
            orders: NDArray[np.signedinteger] = turned_DR[:, rows]
            if rng is not None:
                orders = acts.inside(rows, width, rng, _TURNS)
            scores.append(sign * before[orders].sum(1))
        np.add.at(before, bins_R[rows], 1)
    return together_log_e(scores, _STEEPNESSES)
