"""Weights: do a suspect's weights come from the same weights as another model's?

The hidden units of a feed-forward block have no order of their own: who permutes them before
training gets the same training, permuted. So units of two models that were initialised and trained
independently, matched by their weights, match in an order that is uniformly random. In a copy,
tuned or with blocks left out, unit 7 matches unit 7 (docs/methods/trace.md; after Zhu et al. 2025,
arXiv 2502.12292).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from potstill.stats.permutations import (
    SumLaw,
    ascents,
    ascents_law,
    fixed_points,
    fixed_points_law,
)
from potstill.trace.finding import Finding, Tier, TraceRecord
from potstill.trace.items import NumberedItem, check_order, refuse_record

# How units are compared:
#   in-place  unit by unit, where copying and tuning leave them: exact for equal widths
#   shuffled  the matches of two weight matrices with one another, whatever order the units are in
How = Literal["in-place", "shuffled"]

_INDEPENDENT = (
    "Of the two models at least one was initialised and trained so that the order of its hidden "
    "units means nothing: no tool has sorted the units of both."
)
_OWN_SEED = (
    "The two were not initialised under one seed: networks of one architecture that were share "
    "their first weights, though nobody copied anything."
)
_NOT_EXACT = (
    "Gate and up weights of one unit may resemble one another without any copying, for example in "
    "their length: the chance is not exact."
)
_NARROWER = (
    "The feed-forward widths differ, and that the narrower model's units were kept in their order "
    "is what is tested."
)
_SYMMETRIC = "Which of the two models came first, weights do not say."


class Shape(TraceRecord):
    """What has to agree between two networks: their blocks, widths and feed-forward matrices."""

    blocks: int = Field(ge=1)
    hidden: int = Field(ge=1)
    ffn: int = Field(ge=2)
    readers: int = Field(ge=1)


class WeightsPlanned(TraceRecord):
    """Which blocks of two models are compared, and how.

    `parent` is the model that the suspect may come from, by its identity. At most `units` hidden
    units of a block are matched, evenly spaced, where the widths are equal.
    """

    test: Literal["weights"] = "weights"
    configuration: str = "weights"
    how: How = "in-place"
    parent: str
    parent_shape: Shape
    suspect_shape: Shape
    units: int = Field(2048, ge=2)

    needs: ClassVar[frozenset[str]] = frozenset({"weights"})

    @model_validator(mode="after")
    def _comparable(self) -> Self:
        parent, suspect = self.parent_shape, self.suspect_shape
        if parent.hidden != suspect.hidden or parent.readers != suspect.readers:
            raise ValueError(
                "weights of networks whose hidden widths or feed-forward matrices differ cannot be "
                "compared row by row"
            )
        if self.how == "shuffled" and (parent.readers < 2 or parent.ffn != suspect.ffn):
            raise ValueError("the shuffled comparison needs gate and up weights of equal width")
        return self

    @property
    def tier(self) -> Tier:
        """`descent` where the chance is exact."""
        exact = self.how == "in-place" and self.parent_shape.ffn == self.suspect_shape.ffn
        return "descent" if exact else "support"

    @property
    def matched(self) -> int:
        """How many hidden units of a pair of blocks are matched."""
        narrower = min(self.parent_shape.ffn, self.suspect_shape.ffn)
        return min(narrower, self.units) if self._equal_widths else narrower

    @property
    def aligned(self) -> int:
        """How many pairs of blocks an alignment has: all blocks of the shallower model."""
        return min(self.parent_shape.blocks, self.suspect_shape.blocks)

    @property
    def alignments(self) -> int:
        """How many alignments there are: which blocks of the deeper model are left out."""
        return math.comb(max(self.parent_shape.blocks, self.suspect_shape.blocks), self.aligned)

    @property
    def pairs(self) -> tuple[tuple[int, int], ...]:
        """(block of the parent, block of the suspect) that some alignment pairs, in order."""
        parent, suspect = self.parent_shape.blocks, self.suspect_shape.blocks
        spare = abs(parent - suspect)
        return tuple(
            (shallow + skip, shallow) if parent >= suspect else (shallow, shallow + skip)
            for shallow in range(self.aligned)
            for skip in range(spare + 1)
        )

    @property
    def _equal_widths(self) -> bool:
        return self.parent_shape.ffn == self.suspect_shape.ffn


class WeightsItem(NumberedItem):
    """How the hidden units of two blocks match.

    `match` holds, for each unit of the narrower model (of equals the suspect), the unit of the
    other that it matches, by position among those that are compared. In the shuffled comparison it
    is that by gate weights, and `second` that by up weights.
    """

    parent_block: int = Field(ge=0)
    suspect_block: int = Field(ge=0)
    match: tuple[int, ...]
    second: tuple[int, ...] | None = None


def weights_finding(planned: WeightsPlanned, items: Sequence[WeightsItem], digest: str) -> Finding:
    """Return what the weights test comes to; nothing is drawn, so that `digest` changes nothing.

    The statistic is the sum over the best alignment of units that match (see `score`). p is its
    chance for one alignment times the number of alignments.
    """
    _check(planned, items)
    rising = planned.parent_shape.ffn != planned.suspect_shape.ffn
    scores = {(i.parent_block, i.suspect_block): score(planned, i) for i in items}
    total = best_alignment(planned, scores)
    law = SumLaw(
        ascents_law(planned.matched) if rising else fixed_points_law(planned.matched),
        planned.aligned,
    )
    log_p = min(0.0, law.log_p(total) + math.log(planned.alignments))
    compared = planned.aligned * (planned.matched - rising)
    unit = "of neighbouring units match in order" if rising else "of hidden units match in place"
    if planned.how == "shuffled":
        unit = "of hidden units match alike by gate and by up weights"
    assumes = [_INDEPENDENT, _OWN_SEED, _SYMMETRIC]
    assumes += [_NOT_EXACT] if planned.how == "shuffled" else []
    assumes += [_NARROWER] if rising else []
    return Finding(
        test="weights",
        configuration=planned.configuration,
        tier=planned.tier,
        n=len(items),
        statistic=float(total),
        null_mean=law.mean,
        effect=total / compared,
        effect_unit=unit,
        p=math.exp(log_p),
        log10_p=log_p / math.log(10),
        assumes=tuple(assumes),
    )


def score(planned: WeightsPlanned, item: WeightsItem) -> int:
    """Return how many units of a pair match: a number whose law is known where nothing was copied.

    Of equal widths it is how many matched units stand at the same place, in the shuffled
    comparison how many are matched to the same unit by both matrices. Of unequal widths it is how
    many neighbours are matched in rising order.
    """
    match = np.array(item.match, dtype=np.int64)
    if planned.how == "shuffled":
        return fixed_points(np.argsort(match)[np.array(item.second, dtype=np.int64)])
    if planned.parent_shape.ffn != planned.suspect_shape.ffn:
        return ascents(match)
    return fixed_points(match)


def best_alignment(planned: WeightsPlanned, scores: dict[tuple[int, int], int]) -> int:
    """Return the greatest sum of scores over alignments that keep the order of the blocks."""
    spare = len(scores) // planned.aligned - 1
    table_KS = np.array([scores[pair] for pair in planned.pairs]).reshape(-1, spare + 1)
    best_S = table_KS[0]
    for row_S in table_KS[1:]:
        # A later block has skipped at least as many as the one before.
        best_S = np.maximum.accumulate(best_S) + row_S
    return int(best_S.max())


def _check(planned: WeightsPlanned, items: Sequence[WeightsItem]) -> None:
    """Refuse items that are not those of the plan, and matches that are none."""
    check_order(items, len(planned.pairs), whole=True)
    wider = max(planned.parent_shape.ffn, planned.suspect_shape.ffn)
    among = planned.matched if planned.how == "shuffled" or planned.tier == "descent" else wider
    for item, pair in zip(items, planned.pairs, strict=True):
        if (item.parent_block, item.suspect_block) != pair:
            raise refuse_record(item.index, "compares another pair of blocks than the plan's")
        matches = [item.match, *([] if item.second is None else [item.second])]
        whole = (item.second is not None) == (planned.how == "shuffled")
        if not whole or not all(_is_match(m, planned.matched, among) for m in matches):
            raise refuse_record(item.index, f"holds no match of {planned.matched} units")


def _is_match(match: Sequence[int], units: int, among: int) -> bool:
    values: NDArray[np.int64] = np.array(match, dtype=np.int64)
    return (
        len(values) == units == len(np.unique(values))
        and int(values.min()) >= 0
        and int(values.max()) < among
    )
