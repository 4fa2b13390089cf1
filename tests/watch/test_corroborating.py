"""What corroborates a case: statistics against float64 oracles, and p-values under the null."""

from __future__ import annotations

import itertools
from collections import Counter

import numpy as np
import pytest

pytest.importorskip("scipy", reason="groups are tested with scipy")

from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from potstill.stats.exact import clopper_pearson
from potstill.watch.corroborating import (
    OTHERS,
    SEED,
    AskedPrompts,
    DrawnGroups,
    chosen_others,
    drawn_groups,
    hours_beside_even,
    mean_of_parties,
    party_kernel,
    shift_of_groups,
    unseen_mass,
    unseen_of_groups,
)
from potstill.watch.strata import Strata

# Two zones, of which one has two products with enough parties to stand by themselves.
SIZES = {("east", "api"): 60, ("east", "app"): 55, ("west", "api"): 70}


def strata() -> Strata:
    rows = [key for key, size in SIZES.items() for _ in range(size)]
    names = [f"a:{number:03}" for number in range(len(rows))]
    return Strata.of(names, [zone for zone, _ in rows], [product for _, product in rows])


def test_groups_have_as_many_of_each_stratum() -> None:
    known = strata()
    mine = np.array([0, 1, 2, 60, 61, 120])
    others = np.setdiff1d(np.arange(185), np.array([*mine, 5, 180]))
    groups = drawn_groups(mine, others, known)
    assert groups is not None and groups.groups_BG.shape == (200, 6)
    assert groups.groups_BG[0].tolist() == mine.tolist() and groups.others == len(others)
    of = Counter(known.stratum_N[mine].tolist())
    for one in groups.groups_BG:
        assert len(set(one.tolist())) == 6 and Counter(known.stratum_N[one].tolist()) == of
        assert not {5, 180} & set(one.tolist())
    again = drawn_groups(mine, others, known)
    assert again is not None and (again.groups_BG == groups.groups_BG).all()


def test_a_stratum_of_too_few_others_is_its_zone_and_a_zone_of_too_few_is_none() -> None:
    known = strata()
    mine = np.arange(20)
    few = np.arange(20, 20 + OTHERS * 20 - 1)
    within = drawn_groups(mine, np.append(few, 60 + np.arange(2)), known)
    assert drawn_groups(mine, np.arange(20, 60), known) is None
    assert within is not None and within.others == len(few) + 2 - max(0, len(few) + 2 - 61)
    app = drawn_groups(mine, np.arange(20, 115), known)
    assert app is not None and app.groups_BG.max() >= 60  # parties of the other product
    assert drawn_groups(np.zeros(0, np.int64), few, known) is None


def test_others_are_chosen_in_the_group_s_strata() -> None:
    known = strata()
    mine, others = np.array([0, 1, 120]), np.setdiff1d(np.arange(185), [0, 1, 120])
    found = chosen_others(mine, others, known, 5)
    assert Counter(known.stratum_N[found].tolist()) == Counter(
        {int(known.stratum_N[0]): 10, int(known.stratum_N[120]): 5}
    )
    assert not len(chosen_others(mine, others[:4], known, 5))


def test_p_counts_what_is_as_large_and_doubles_the_lesser_side() -> None:
    groups = DrawnGroups(np.zeros((5, 1), np.int64), 4)
    beside = groups.beside(np.array([3.0, 1.0, 3.0, 4.0, 2.0]), "larger")
    assert (beside.observed, beside.expected, beside.p) == (3.0, 2.5, 3 / 5)
    assert groups.beside(np.array([0.0, 1.0, 3.0, 4.0, 2.0]), "either").p == 2 / 5
    assert groups.beside(np.ones(5), "either").p == groups.beside(np.ones(5), "larger").p == 1


@settings(deadline=None)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.data())
def test_unseen_mass_is_the_mean_over_all_samples(counts: list[int], data: st.DataObject) -> None:
    requests = [prompt for prompt, count in enumerate(counts) for _ in range(count)]
    m = data.draw(st.integers(1, len(requests)))
    once = [
        sum(count == 1 for count in Counter(sample).values()) / m
        for sample in itertools.combinations(requests, m)
    ]
    assert unseen_mass(np.array(counts), m) == pytest.approx(float(np.mean(once)), abs=1e-9)


def test_growth_is_told_at_one_number_of_requests() -> None:
    asked = AskedPrompts.of(np.array([0, 0, 1, 1, 1, 3]), np.array([7, 7, 1, 2, 3, 9]), 4)
    found = unseen_of_groups(np.array([[0, 1], [1, 3]]), asked, 4)
    assert found is not None and found[1] == 1.0
    assert found[0] == pytest.approx(unseen_mass(np.array([2, 1, 1, 1]), 4))
    assert unseen_of_groups(np.array([[0, 1], [1, 3]]), asked, 5) is None


def test_hours_beside_those_that_even_requests_reach() -> None:
    reached = [24 * (1 - np.prod(np.full(n, 23 / 24))) for n in (1, 24, 500)]
    found = hours_beside_even(np.array([1, 12, 24]), np.array([1, 24, 500]))
    assert found == pytest.approx([1 / reached[0], 12 / reached[1], 24 / reached[2]])


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32 - 1))
def test_the_shift_is_the_sum_over_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    party_R = np.sort(np.concatenate([np.arange(6), rng.integers(0, 6, 9)]))
    slots = rng.integers(0, 3, (len(party_R), 8)).astype(np.uint16)
    kernel = party_kernel(party_R, slots, 6)
    like = [
        [
            float(np.mean([
                float(np.mean(slots[a] == slots[b]))
                for a in np.flatnonzero(party_R == p) for b in np.flatnonzero(party_R == q)
            ]))
            for q in range(6)
        ]
        for p in range(6)
    ]  # fmt: skip
    assert kernel == pytest.approx(np.array(like), abs=1e-6)
    assert np.linalg.eigvalsh(kernel).min() > -1e-5
    group, rest = (0, 2), (1, 3, 4, 5)
    mmd = (
        sum(like[p][q] for p in group for q in group if p != q) / 2
        + sum(like[p][q] for p in rest for q in rest if p != q) / 12
        - 2 * sum(like[p][q] for p in group for q in rest) / 8
    )
    assert shift_of_groups(np.array([group, (1, 3)]), kernel)[0] == pytest.approx(mmd, abs=1e-6)


def rejected(trials: int, draws: int, level: float) -> int:
    """Return how often a group that is drawn at random is told apart by skewed figures."""
    rng = np.random.default_rng(SEED)
    known = strata()
    every, count = np.arange(185), 0
    for trial in range(trials):
        # Figures hang on the stratum, and a few parties have most.
        value_N: NDArray[np.float64] = np.exp(2 * rng.standard_normal(185)) * (
            1.0 + known.stratum_N
        )
        mine = np.sort(
            np.concatenate([
                rng.choice(60, 10, replace=False),
                115 + rng.choice(70, 3, replace=False),
            ])
        )  # fmt: skip
        groups = drawn_groups(mine, np.setdiff1d(every, mine), known, trial, draws)
        assert groups is not None
        p = groups.beside(mean_of_parties(groups.groups_BG, value_N), "larger").p
        count += p <= level
    return count


@pytest.mark.slow
@pytest.mark.parametrize(("draws", "level"), [(19, 0.05), (99, 0.01)])
def test_a_group_of_strangers_is_told_apart_as_often_as_the_level_says(
    draws: int, level: float
) -> None:
    count = rejected(20_000, draws, level)
    # Two levels: 99.9% together.
    low, high = clopper_pearson(count, 20_000, 1 - 0.001 / 2)
    assert low <= level <= high


def test_growth_and_shift_keep_the_level_under_the_null() -> None:
    rng = np.random.default_rng(SEED)
    known = strata()
    trials, below = 1_000, Counter[str]()
    for trial in range(trials):
        pool = np.arange(120, 185)  # one stratum of one zone
        mine = np.sort(rng.choice(pool, 8, replace=False))
        groups = drawn_groups(mine, np.setdiff1d(pool, mine), known, trial, 19)
        assert groups is not None
        party_R = np.repeat(np.arange(185), 3)
        # Each party has subjects of its own that it comes back to.
        own_R = np.repeat(rng.integers(0, 40, 185), 3)
        asked = AskedPrompts.of(party_R, own_R + 100 * rng.integers(0, 2, len(own_R)), 185)
        unseen = unseen_of_groups(groups.groups_BG, asked, 20)
        assert unseen is not None
        below["growth"] += groups.beside(unseen, "either").p <= 0.1
        slots = (own_R[:, None] + rng.integers(0, 2, (len(own_R), 4))).astype(np.uint16)
        here = party_R >= 120
        kernel = party_kernel(party_R[here] - 120, slots[here], 65)
        shift = shift_of_groups(groups.groups_BG - 120, kernel)
        below["shift"] += groups.beside(shift, "larger").p <= 0.05
    for name, level in (("growth", 0.1), ("shift", 0.05)):
        low, _ = clopper_pearson(below[name], trials, 1 - 0.001 / 2)
        assert low <= level, name
    assert below["shift"] > 20


def test_what_differs_is_told() -> None:
    known = strata()
    mine = np.arange(8)
    groups = drawn_groups(mine, np.arange(8, 60), known)
    assert groups is not None
    value_N = np.random.default_rng(SEED).random(185)
    value_N[mine] += 1
    assert groups.beside(mean_of_parties(groups.groups_BG, value_N), "larger").p == 1 / 200
    party_R = np.repeat(np.arange(60), 2)
    slots = np.random.default_rng(SEED).integers(0, 50, (120, 16)).astype(np.uint16)
    slots[:16, :8] = 7
    shift = shift_of_groups(groups.groups_BG, party_kernel(party_R, slots, 60))
    assert groups.beside(shift, "larger").p == 1 / 200
