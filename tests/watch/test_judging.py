"""What is left out of a test makes an e-value less, never more, and changes nobody who stands."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from potstill.stats.exact import clopper_pearson
from potstill.stats.multiple import e_bh
from potstill.watch.evidence import Chooser, Part
from potstill.watch.judging import FAMILY, attainable_log_e, counts, two_families_log_e

SEED = 20261130
LEVEL = 0.05
DEAR: tuple[Part, ...] = ("clock", "sharding")
CHOOSERS: tuple[Chooser, ...] = ("templates", "means", "places")
log_es = st.one_of(st.just(-math.inf), st.floats(-20, 40))
parts_of_groups = st.dictionaries(st.sampled_from(sorted(FAMILY)), log_es)


@given(st.sampled_from(CHOOSERS), parts_of_groups)
def test_no_outcome_of_what_is_left_is_above_what_is_attainable(
    by: Chooser, parts: dict[Part, float]
) -> None:
    known = {part: log_e for part, log_e in parts.items() if part not in DEAR}
    most = attainable_log_e(by, known, DEAR)
    assert two_families_log_e(by, parts) <= most
    # Left out, a part counts as E = 0.
    left = {**parts, **{part: -math.inf for part in DEAR if part in parts}}
    assert two_families_log_e(by, left) <= two_families_log_e(by, parts)


def test_a_part_counts_where_it_is_in_a_pair() -> None:
    assert counts("templates", "clock")
    assert counts("means", "spread") and not counts("places", "clock")


def gated(by: Chooser, parts: dict[Part, float]) -> float:
    """Return ln E of a group whose dear parts are tried in turn, where they can make it stand."""
    known = {part: log_e for part, log_e in parts.items() if part not in DEAR}
    for number, part in enumerate(DEAR):
        tried = attainable_log_e(by, known, DEAR[number:]) >= -math.log(LEVEL)
        known = {**known, part: parts[part] if tried else -math.inf}
    return two_families_log_e(by, known)


def test_what_is_not_tried_keeps_the_error_and_who_stands() -> None:
    rng = np.random.default_rng(SEED)
    names: list[Part] = sorted(set(FAMILY) - {"spread"})
    hits = left = 0
    for trial in range(4_000):
        # E of 1 / (2 sqrt(p)), as heavy a tail as an e-value may have, and strong ones in places.
        full, less = [], []
        for _ in range(5):
            bets = math.log(0.5) - 0.5 * np.log(rng.random(len(names)))
            if trial % 2:
                bets += np.where(rng.random(len(names)) < 0.3, 12.0, 0.0)
            parts = dict(zip(names, bets.tolist(), strict=True))
            full.append(two_families_log_e("templates", parts))
            less.append(gated("templates", parts))
            left += less[-1] < full[-1]
        assert all(one <= other for one, other in zip(less, full, strict=True))
        stands = e_bh([one / math.log(10) for one in full], LEVEL)
        assert stands == e_bh([one / math.log(10) for one in less], LEVEL)
        hits += not trial % 2 and less[0] >= math.log(20)
    assert left > 1_000
    assert clopper_pearson(hits, 2_000, 0.999)[0] <= 1 / 20
