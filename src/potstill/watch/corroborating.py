"""A group beside groups drawn at random: p-values that corroborate a case and never make one.

A group is held against `DRAWS` others, each as large and with as many parties of each stratum (time
zone and product), drawn from the group's own parties and others together. If the group is one more
such draw, all `DRAWS` + 1 are exchangeable, whatever the statistic, and

    p = (1 + draws at least as extreme) / (1 + DRAWS)

is at most alpha with a chance of at most alpha (Phipson and Smyth 2010, "Permutation P-values
should never be zero"). From others alone they would not be: with few others the group would be the
one draw that has none of them. Nothing here knows tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

from potstill.watch.strata import Strata

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Side = Literal["larger", "either"]

DRAWS = 199
# Fixed before the first run.
SEED = 28
# How many others there have to be for each party of the group in a stratum.
OTHERS = 3
# A figure that differs by less than this part of itself is the same one.
_SAME = 1e-9
_HOURS = 24


@dataclass(frozen=True)
class BesideDraws:
    """A figure of a group, what it is on average in the draws, and its p-value."""

    observed: float
    expected: float
    p: float


@dataclass(frozen=True)
class DrawnGroups:
    """A group of g parties and `DRAWS` others; `groups_BG` has their places, the group's first.

    `others` counts the parties beside the group's own that they were drawn from.
    """

    groups_BG: Ints
    others: int

    def beside(self, figure_B: Floats, side: Side) -> BesideDraws:
        """Return the first figure beside the others'; what is as large counts as extreme."""
        observed, drawn_D = float(figure_B[0]), figure_B[1:]
        near = _SAME * np.maximum(np.abs(drawn_D), abs(observed))
        above = _share(drawn_D >= observed - near)
        below = _share(drawn_D <= observed + near)
        p = above if side == "larger" else min(1.0, 2 * min(above, below))
        return BesideDraws(observed, float(drawn_D.mean()), p)


def _share(extreme_D: NDArray[np.bool_]) -> float:
    return (1 + int(extreme_D.sum())) / (1 + len(extreme_D))


def drawn_groups(
    mine: Ints, others: Ints, strata: Strata, seed: int = SEED, draws: int = DRAWS
) -> DrawnGroups | None:
    """Return groups like `mine`, from it and `others` (places of parties in `strata`).

    Where a stratum has fewer than `OTHERS` others for each of the group's, all products of its time
    zone are one; None where even these are too few.
    """
    labels = _labels(mine, others, strata)
    if labels is None:
        return None
    rng = np.random.default_rng(seed)
    parts, beside = [], 0
    for label in np.unique(labels[mine]):
        of_label = mine[labels[mine] == label]
        around = others[labels[others] == label]
        pool = np.sort(np.concatenate([of_label, around]))
        beside += len(around)
        count, size = len(of_label), len(pool)
        # Sets alone: their order is nothing.
        drawn = [rng.choice(size, count, replace=False, shuffle=False) for _ in range(draws)]
        parts.append(np.concatenate([of_label[None], pool[np.stack(drawn)]]))
    return DrawnGroups(np.sort(np.concatenate(parts, axis=1), axis=1), beside)


def chosen_others(mine: Ints, others: Ints, strata: Strata, each: int, seed: int = SEED) -> Ints:
    """Return `each` others for each of a group's parties in its stratum, or all where fewer are.

    None are returned where `drawn_groups` would draw nothing.
    """
    labels = _labels(mine, others, strata)
    if labels is None:
        return np.zeros(0, np.int64)
    rng = np.random.default_rng(seed)
    found = []
    for label, count in zip(*np.unique(labels[mine], return_counts=True), strict=True):
        around = np.sort(others[labels[others] == label])
        found.append(rng.choice(around, min(each * int(count), len(around)), replace=False))
    return np.sort(np.concatenate(found))


def _labels(mine: Ints, others: Ints, strata: Strata) -> Ints | None:
    """Return the stratum of every party, wide enough for a group; None where none is."""
    if not len(mine):
        return None
    labels = strata.stratum_N
    for _ in range(2):
        size = int(labels.max()) + 1
        inside = np.bincount(labels[mine], minlength=size)
        short = OTHERS * inside > np.bincount(labels[others], minlength=size)
        if not short.any():
            return labels
        zones = np.unique(strata.zone_N[mine[short[labels[mine]]]])
        labels = strata.beside(tuple(zones.tolist()))
    return None


def mean_of_parties(groups_BG: Ints, value_N: Floats) -> Floats:
    """Return the mean of a value over the parties of each group."""
    return np.asarray(value_N[groups_BG].mean(axis=1))


def hours_beside_even(hours_N: Ints, n_N: Ints) -> Floats:
    """Return the hours in which parties ask as a part of those that even requests would reach.

    n requests that each fall into any of the day's 24 hours with the same chance reach
    24 (1 - (23/24)^n) on average.
    """
    return np.asarray(hours_N / (_HOURS * (1 - (1 - 1 / _HOURS) ** n_N)))


@dataclass(frozen=True)
class AskedPrompts:
    """Sampled requests, sorted by party: `first_N` says where each party's begin, and where all
    end; `code_R` tells prompts apart."""

    first_N: Ints
    code_R: Ints

    @classmethod
    def of(cls, party_R: Ints, code_R: Ints, parties: int) -> AskedPrompts:
        """Return requests by party, from rows that are sorted by it."""
        return cls(np.searchsorted(party_R, np.arange(parties + 1)), code_R)

    def of_group(self, group: Ints) -> Ints:
        """Return the prompts of a group's requests."""
        parts = [self.code_R[self.first_N[one] : self.first_N[one + 1]] for one in group]
        return np.concatenate(parts)


def unseen_of_groups(groups_BG: Ints, asked: AskedPrompts, least: int) -> Floats | None:
    """Return Good-Turing's unseen mass of each group at one number of requests, the least of all.

    None where that is below `least`. The number hangs on all groups alike, so that they stay
    exchangeable.
    """
    counts = [np.unique(asked.of_group(one), return_counts=True)[1] for one in groups_BG]
    m = min((int(one.sum()) for one in counts), default=0)
    if m < least:
        return None
    return np.array([unseen_mass(one, m) for one in counts])


def unseen_mass(counts: Ints, m: int) -> float:
    """Return the mean of f1 / m over all samples of m of the requests.

    `counts` says how often each prompt was asked. f1 prompts that come once in m requests are an
    estimate f1 / m of the chance that the next request is a new one (Good 1953, "The population
    frequencies of species"). A prompt that is asked c times of n comes once in a sample of m with
    a chance of c C(n - c, m - 1) / C(n, m).
    """
    n = int(counts.sum())
    c, times = np.unique(counts, return_counts=True)
    fits = n - c >= m - 1
    c, times = c[fits], times[fits]
    log_once = np.log(c) + _log_choose(n - c, m - 1) - _log_choose(np.array(n), m)
    return float((times * np.exp(log_once)).sum() / m)


def _log_choose(n: Ints, k: int) -> Floats:
    return np.asarray(gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0))


def party_kernel(party_R: Ints, slots_RS: NDArray[np.uint16], parties: int) -> Floats:
    """Return how alike the prompts of any two of U parties are, [U, U]: the mean over their pairs
    of requests of the share of equal slots.

    The share of equal slots is positive definite (a mean of kernels that are 1 where two values
    are equal), and so is its mean.
    """
    # Bytes, of which no request has more slots than one counts to, stay in a core's cache.
    equal_RR = np.zeros((len(party_R), len(party_R)), np.uint8)
    same_RR = np.empty_like(equal_RR, np.bool_)
    for slot_R in np.ascontiguousarray(slots_RS.T):
        np.equal(slot_R[:, None], slot_R[None, :], out=same_RR)
        np.add(equal_RR, same_RR.view(np.uint8), out=equal_RR)
    weight_UR = np.zeros((parties, len(party_R)), np.float32)
    weight_UR[party_R, np.arange(len(party_R))] = 1
    weight_UR /= np.maximum(weight_UR.sum(axis=1, keepdims=True), 1)
    equal_UU = weight_UR @ equal_RR.astype(np.float32) @ weight_UR.T
    return np.asarray(equal_UU / slots_RS.shape[1], np.float64)


def shift_of_groups(groups_BG: Ints, kernel_UU: Floats) -> Floats:
    """Return the unbiased squared MMD between each group and all other parties of a kernel.

    Gretton et al. 2012, "A kernel two-sample test", equation 3, where a sample is a party's mean
    prompt: pairs of one party with itself are left out, since its requests are not independent.
    """
    member_BU = np.zeros((len(groups_BG), len(kernel_UU)))
    np.put_along_axis(member_BU, groups_BG, 1.0, axis=1)
    other_BU = 1.0 - member_BU
    off_UU = kernel_UU - np.diag(np.diag(kernel_UU))
    g, m = groups_BG.shape[1], len(kernel_UU) - groups_BG.shape[1]
    toward_BU = member_BU @ off_UU
    own_B = (toward_BU * member_BU).sum(axis=1) / (g * (g - 1))
    theirs_B = ((other_BU @ off_UU) * other_BU).sum(axis=1) / (m * (m - 1))
    across_B = (toward_BU * other_BU).sum(axis=1) / (g * m)
    return np.asarray(own_B + theirs_B - 2 * across_B)
