"""Evidence about groups keeps its error where nothing joins the group, and grows where it does."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest

from potstill.stats.exact import clopper_pearson
from potstill.watch.nulls import (
    Askers,
    CommonValues,
    SharedValues,
    hand_off_log_e,
)

SEED = 20261130
Ints = np.ndarray[Any, np.dtype[np.int64]]


def keeps(es: list[float]) -> None:
    """An e-value reaches 20 in one trial of twenty at most (Markov): the 99.9% interval allows."""
    hits = sum(e >= 20 for e in es)
    assert clopper_pearson(hits, len(es), 0.999)[0] <= 1 / 20


def test_links_average_at_most_one_over_every_group_there_is() -> None:
    stratum = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    value = np.array([5, 5, 5, 7, 7, -1, 9, 9])
    for inside in (1, 2, 3):
        groups = [
            (*one, *other)
            for one in itertools.combinations(range(4), inside)
            for other in itertools.combinations(range(4, 8), 2)
        ]
        for odds in (0.5, 3.0, 50.0):
            found = [SharedValues.of(stratum, value).log_e(group, (odds,)) for group in groups]
            mean = np.mean([1.0 if one is None else math.exp(one.log_e) for one in found])
            assert mean <= 1 + 1e-12


def test_links_of_random_groups_keep_their_error() -> None:
    rng = np.random.default_rng(SEED)
    stratum = rng.integers(0, 3, 400)
    value = np.where(rng.random(400) < 0.3, rng.integers(0, 60, 400), -1)
    pools = [np.flatnonzero(stratum == s) for s in range(3)]
    found = []
    for _ in range(20_000):
        group = [int(p) for pool in pools for p in rng.choice(pool, 6, replace=False)]
        evidence = SharedValues.of(stratum, value).log_e(group)
        found.append(0.0 if evidence is None else math.exp(evidence.log_e))
    keeps(found)
    assert np.mean(found) <= 1.1


def test_links_rise_with_what_a_group_shares_and_fall_with_what_all_share() -> None:
    value = np.arange(1_000)
    value[:10] = 0
    stratum, group = np.zeros(1_000, np.int64), range(20)
    rare = SharedValues.of(stratum, value).log_e(group)
    common = SharedValues.of(stratum, np.zeros(1_000, np.int64)).log_e(group)
    assert rare is not None and common is not None
    assert rare.log_e > math.log(1e10) and rare.observed == 9 and rare.expected < 0.02
    assert common.log_e < 0.1
    assert SharedValues.of(stratum, np.full(1_000, -1)).log_e(group) is None


def test_large_relays_average_at_most_one_over_every_group_there_is() -> None:
    stratum = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    value = np.array([5, 5, 7, 7, 7, -1, 5, 7])
    for inside in (1, 2, 3):
        groups = [
            (*one, *other)
            for one in itertools.combinations(range(4), inside)
            for other in itertools.combinations(range(4, 8), 2)
        ]
        for odds in (0.5, 3.0, 50.0):
            found = [CommonValues.of(stratum, value).log_e(group, (odds,)) for group in groups]
            mean = np.mean([1.0 if one is None else math.exp(one.log_e) for one in found])
            assert mean == pytest.approx(1)


def test_a_large_relay_shows_beside_a_larger_one() -> None:
    value = np.where(np.arange(2_000) < 300, 1, np.where(np.arange(2_000) < 1_200, 2, -1))
    stratum = np.zeros(2_000, np.int64)
    inside, random = range(40), range(0, 2_000, 50)
    relays = CommonValues.of(stratum, value)
    found, other = relays.log_e(inside), relays.log_e(random)
    assert found is not None and other is not None
    assert found.log_e > math.log(1e20) and found.observed == 40
    assert other.log_e < math.log(2)
    assert CommonValues.of(stratum, np.full(2_000, -1)).log_e(inside) is None


def test_askers_average_one_over_every_group_there_is() -> None:
    stratum = np.array([0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2])
    asks = np.array([1, 1, 0, 0, -1, 1, 0, 0, 0, 1, 1])
    for inside in (1, 2, 3):
        groups = [
            (*one, *other, 9, 10)
            for one in itertools.combinations(range(4), inside)
            for other in itertools.combinations(range(5, 9), 2)
        ]
        for odds in (0.5, 3.0, 50.0):
            found = [Askers.of(stratum, asks).log_e(group, (odds,)) for group in groups]
            # Of the last stratum nobody is outside: it says nothing.
            assert {one.observed for one in found if one} <= {0, 1, 2, 3}
            assert np.mean([math.exp(one.log_e) for one in found if one]) == pytest.approx(1)
    assert Askers.of(stratum, asks).log_e((9, 10)) is None


@pytest.mark.slow
def test_askers_of_random_groups_keep_their_error() -> None:
    rng = np.random.default_rng(SEED)
    stratum = np.arange(500) % 2
    asks = np.zeros(500, np.int64)
    found = []
    for _ in range(20_000):
        # One zone asks so far more often: a group of both is compared with each by itself.
        asks = (rng.random(500) < np.where(stratum == 0, 0.05, 0.5)).astype(np.int64)
        evidence = Askers.of(stratum, asks).log_e(range(15))
        assert evidence is not None
        found.append(math.exp(evidence.log_e))
    keeps(found)
    assert np.mean(found) <= 1.1
    asks[:15] = 1
    evidence = Askers.of(stratum, asks).log_e(range(15))
    assert evidence is not None and evidence.log_e > math.log(1e5)


def test_hand_offs_average_at_most_one_over_the_hypergeometric_law() -> None:
    from scipy.stats import hypergeom

    for n, m, followed in ((5, 20, 6), (12, 40, 9), (3, 9, 1)):
        mean = 0.0
        for k in range(max(0, followed - m), min(n, followed) + 1):
            evidence = hand_off_log_e((n, k), (m, followed - k))
            assert evidence is not None
            mean += float(hypergeom.pmf(k, n + m, followed, n)) * math.exp(evidence.log_e)
        assert mean <= 1
    taken_over = hand_off_log_e((40, 30), (2_000, 2))
    assert taken_over is not None and taken_over.log_e > math.log(1e10)
    assert hand_off_log_e((0, 0), (10, 2)) is None and hand_off_log_e((5, 0), (10, 0)) is None
