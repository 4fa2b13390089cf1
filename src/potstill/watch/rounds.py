"""Whether parties act at the same moments of hours that are otherwise alike, and each on a subject
of its own.

A feed that many follow, an exercise that is read out, an outage: what happens makes strangers with
the same client act together, and on the same thing. A hand that deals work out makes them act
together on different things.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from potstill.stats.evalues import average_log_e
from potstill.watch.orders import placed_log_es

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Pairs that have to be there to say anything, and how much more alike they may be than others.
_PAIRS, _MORE = 20, 0.1
# Orders of hours that are drawn, and how steep the bets are, of which the average counts.
_ORDERS, _STEEPNESS = 199, (0.5, 1.0, 2.0, 4.0)
_HOUR_S = 3_600
# Minutes of an hour that are everybody's: timers and resets at quarter hours, and at midnight.
_EVERYBODYS = (0, 1, 14, 15, 29, 30, 44, 45, 58, 59)


def on_their_own(party_R: Ints, bin_R: Ints, slots_RS: NDArray[np.uint16]) -> bool:
    """Tell whether requests of different parties in one bin of time are no more alike than others.

    `slots_RS` are the prompts' sketches. Neighbours in a bin are compared, and each with the
    request half of all further on; how alike they are is the share of slots that agree. False
    where there are too few to say.
    """
    order = np.lexsort((party_R, bin_R))
    party_R, bin_R, slots_RS = party_R[order], bin_R[order], slots_RS[order]

    def alike(steps: Sequence[int], *, same_bin: bool) -> Floats:
        found = []
        for step in steps:
            other = np.roll(np.arange(len(order)), -step)
            pairs = (party_R != party_R[other]) & ((bin_R == bin_R[other]) == same_bin)
            found.append((slots_RS[pairs] == slots_RS[other[pairs]]).mean(1))
        return np.concatenate(found)

    half = len(order) // 2
    together = alike((1,), same_bin=True)
    apart = alike((half, half + 1), same_bin=False)
    if len(together) < _PAIRS or len(apart) < _PAIRS:
        return False
    return bool(together.mean() <= apart.mean() + _MORE)


def shifted_log_e(
    party_R: Ints, day_R: Ints, second_R: Ints, widths: Sequence[int] = (1, 5)
) -> float:
    """Return ln E that parties act at the same moments inside their hours.

    A party's score is, summed over its requests, which share of the requests that those before it
    made in the same hour, and in one more hour as all are on average, lies in the same bin (of so
    many minutes as `widths` has; the average of these bets is placed). *Null:* what the
    party does in an hour may as well be done in any other hour that it is there, at the same
    minutes: so its hours are put in other orders, each with all that is in it. Kept are the hours
    that a party is there and its timers, at whatever minute; that some hours and days are busier is
    divided out. Requests near the quarter hours are left out: what is timed by the clock on the
    wall begins there, at midnight above all. Each party's bet has a mean of 1 given those before
    it. Those that asked most come first.
    """
    own = ~np.isin(second_R % _HOUR_S // 60, _EVERYBODYS)
    party_R, day_R, second_R = party_R[own], day_R[own], second_R[own]
    _, party_R, asked = np.unique(party_R, return_inverse=True, return_counts=True)
    hour_R = day_R * 24 + second_R // _HOUR_S
    _, hour_R = np.unique(hour_R, return_inverse=True)
    turn_R = np.argsort(np.argsort(-asked, kind="stable"))[party_R]
    order = np.lexsort((second_R, hour_R, turn_R))
    hour_R, second_R = hour_R[order], second_R[order] % _HOUR_S
    edges = [*np.flatnonzero(np.diff(turn_R[order], prepend=-1)).tolist(), len(order)]
    rows = [slice(a, b) for a, b in itertools.pairwise(edges)]
    hours = int(hour_R.max(initial=-1)) + 1
    return average_log_e([_shifted(rows, hour_R, second_R // (60 * w), hours, w) for w in widths])


def _shifted(rows: Sequence[slice], hour_R: Ints, bin_R: Ints, hours: int, width: int) -> float:
    before_HB, rng = np.zeros((hours, 60 // width)), np.random.default_rng(0)
    bets = np.zeros(len(_STEEPNESS))
    for mine in rows:
        hour, place = np.unique(hour_R[mine], return_inverse=True)
        if len(hour) > 1 and before_HB.any():
            orders = rng.random((_ORDERS, len(hour))).argsort(1)
            hour_OJ = np.concatenate([hour[None], hour[orders]])
            # An hour that nobody was in says what all hours say.
            every_B = before_HB.sum(0) / before_HB.sum()
            share_HB = before_HB[hour] + every_B
            share_HB /= share_HB.sum(1, keepdims=True)
            at_OJ = np.searchsorted(hour, hour_OJ)
            score_O = share_HB[at_OJ[:, place], bin_R[mine]].sum(1)
            placed = placed_log_es(np.round(score_O, 9)[None], _STEEPNESS)
            bets += [float(bet_P[0]) for bet_P in placed]
        np.add.at(before_HB, (hour_R[mine], bin_R[mine]), 1.0)
    return average_log_e(list(bets))
