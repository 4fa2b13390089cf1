"""The weights test: units that match in place, over the best alignment of blocks."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from potstill.errors import PotstillError
from potstill.stats.permutations import SumLaw, ascents_law, fixed_points_law
from potstill.trace.weights import (
    Shape,
    WeightsItem,
    WeightsPlanned,
    best_alignment,
    score,
    weights_finding,
)


def shape(blocks: int = 4, ffn: int = 12, **more: int) -> Shape:
    return Shape.model_validate({"blocks": blocks, "hidden": 8, "ffn": ffn, "readers": 2, **more})


def planned(
    parent: Shape | None = None, suspect: Shape | None = None, **more: Any
) -> WeightsPlanned:
    return WeightsPlanned(
        parent="blake3:0",
        parent_shape=parent or shape(),
        suspect_shape=suspect or shape(),
        **more,
    )


def items_of(plan: WeightsPlanned, match: Any) -> list[WeightsItem]:
    """Return items whose matches `match(parent block, suspect block)` gives."""
    found = []
    for index, (i, j) in enumerate(plan.pairs):
        first = match(i, j)
        second = match(i, j) if plan.how == "shuffled" else None
        found.append(
            WeightsItem(
                index=index,
                parent_block=i,
                suspect_block=j,
                match=tuple(map(int, first)),
                second=None if second is None else tuple(map(int, second)),
            )
        )
    return found


@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 10**6))
def test_the_best_alignment_is_the_best_of_all(parent: int, suspect: int, seed: int) -> None:
    plan = planned(shape(parent), shape(suspect))
    draw = np.random.default_rng(seed)
    scores = {pair: int(draw.integers(0, 9)) for pair in plan.pairs}
    deep, shallow = max(parent, suspect), min(parent, suspect)
    sums = []
    for chosen in itertools.combinations(range(deep), shallow):
        pairs = [(c, k) if parent >= suspect else (k, c) for k, c in enumerate(chosen)]
        sums.append(sum(scores[pair] for pair in pairs))
    assert best_alignment(plan, scores) == max(sums)
    assert plan.alignments == len(sums)


def test_a_copy_matches_in_place() -> None:
    plan = planned()
    finding = weights_finding(plan, items_of(plan, lambda i, j: np.arange(12)), "aa")
    assert finding.tier == "descent"
    assert finding.statistic == 48 and finding.effect == 1
    assert finding.log10_p == pytest.approx(-4 * math.lgamma(13) / math.log(10))
    assert finding.null_mean == pytest.approx(4)


def test_a_copy_with_blocks_left_out_is_found_and_the_alignments_are_paid_for() -> None:
    kept = [0, 2, 3, 5]
    plan = planned(shape(6), shape(4))
    draw = np.random.default_rng(1)
    finding = weights_finding(
        plan,
        items_of(plan, lambda i, j: np.arange(12) if kept[j] == i else draw.permutation(12)),
        "aa",
    )
    assert finding.statistic == 48
    expected = (-4 * math.lgamma(13) + math.log(15)) / math.log(10)
    assert finding.log10_p == pytest.approx(expected)
    assert finding.tier == "descent" and finding.n == 4 * 3
    # The other way round: a suspect with blocks that the parent lacks.
    turned = planned(shape(4), shape(6))
    again = weights_finding(
        turned,
        items_of(turned, lambda i, j: np.arange(12) if kept[i] == j else draw.permutation(12)),
        "aa",
    )
    assert again.log10_p == pytest.approx(expected)


def test_blocks_in_another_order_are_no_alignment() -> None:
    plan = planned()
    draw = np.random.default_rng(2)
    finding = weights_finding(plan, items_of(plan, lambda i, j: draw.permutation(12)), "aa")
    assert finding.p > 0.05


def test_narrower_copies_are_support_by_the_order_of_their_units() -> None:
    plan = planned(shape(2, 20), shape(2, 12))
    kept = np.sort(np.random.default_rng(3).choice(20, 12, replace=False))
    finding = weights_finding(plan, items_of(plan, lambda i, j: kept), "aa")
    assert finding.tier == "support" and any("widths differ" in a for a in finding.assumes)
    assert finding.statistic == 22 and finding.effect == 1
    assert finding.log10_p == pytest.approx(-2 * math.lgamma(13) / math.log(10))


def test_shuffled_units_are_support_by_two_matrices_that_agree() -> None:
    plan = planned(how="shuffled")
    orders = iter(
        np.repeat([np.random.default_rng(n).permutation(12) for n in range(4)], 2, axis=0)
    )
    finding = weights_finding(plan, items_of(plan, lambda i, j: next(orders)), "aa")
    assert finding.tier == "support" and finding.statistic == 48
    assert any("not exact" in a for a in finding.assumes)
    # What matters is which unit, not where it stands.
    item = WeightsItem(
        index=0, parent_block=0, suspect_block=0, match=(2, 0, 1, 3), second=(2, 1, 0, 3)
    )
    assert score(planned(shape(1, 4), shape(1, 4), how="shuffled"), item) == 2


@pytest.mark.parametrize("widths", [(12, 12), (12, 9), (9, 12)])
@pytest.mark.parametrize("blocks", [(3, 3), (5, 3)])
def test_the_level_is_kept_where_nothing_was_copied(
    widths: tuple[int, int], blocks: tuple[int, int]
) -> None:
    """Uniform matches, 3,000 suspects; the seed was fixed before the first run."""
    plan = planned(shape(blocks[0], widths[0]), shape(blocks[1], widths[1]))
    draw = np.random.default_rng(270_301)
    wide, narrow = max(widths), min(widths)
    law = ascents_law(narrow) if wide > narrow else fixed_points_law(narrow)
    tails = SumLaw(law, plan.aligned)
    hits = 0
    totals: dict[int, float] = {}
    for _ in range(3000):
        found = items_of(plan, lambda i, j: draw.permutation(wide)[:narrow])
        total = best_alignment(
            plan, {(i.parent_block, i.suspect_block): score(plan, i) for i in found}
        )
        if total not in totals:
            totals[total] = math.exp(min(0.0, tails.log_p(total) + math.log(plan.alignments)))
        hits += totals[total] <= 0.05
    # 0.05 and four standard errors.
    assert hits / 3000 <= 0.05 + 4 * math.sqrt(0.05 * 0.95 / 3000)


def test_what_cannot_be_compared_is_refused() -> None:
    for wrong in ({"hidden": 16}, {"readers": 1}):
        with pytest.raises(ValidationError, match="cannot be compared row by row"):
            planned(suspect=shape(**wrong))
    with pytest.raises(ValidationError, match="needs gate and up weights of equal width"):
        planned(suspect=shape(4, 9), how="shuffled")


def test_items_that_are_not_the_plans_are_refused() -> None:
    plan = planned()
    items = items_of(plan, lambda i, j: np.arange(12))
    for wrong in (items[:-1], items[::-1]):
        with pytest.raises(PotstillError, match="the raw log"):
            weights_finding(plan, wrong, "aa")
    other = [items[0].model_copy(update={"parent_block": 99}), *items[1:]]
    with pytest.raises(PotstillError, match="record 0 of the raw log compares another pair"):
        weights_finding(plan, other, "aa")
    for match in ((0,) * 12, tuple(range(11)), tuple(range(1, 13)), (-1, *range(1, 12))):
        broken = [items[0].model_copy(update={"match": match}), *items[1:]]
        with pytest.raises(PotstillError, match="record 0 of the raw log holds no match"):
            weights_finding(plan, broken, "aa")
    second = [items[0].model_copy(update={"second": items[0].match}), *items[1:]]
    with pytest.raises(PotstillError, match="record 0 of the raw log holds no match"):
        weights_finding(plan, second, "aa")


def test_a_plan_and_its_items_are_read_as_they_were_written() -> None:
    plan = planned(shape(3), shape(2))
    items = items_of(plan, lambda i, j: np.arange(12))
    assert WeightsPlanned.model_validate_json(plan.model_dump_json()) == plan
    assert [WeightsItem.model_validate_json(i.model_dump_json()) for i in items] == items
