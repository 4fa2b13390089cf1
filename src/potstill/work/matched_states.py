"""Which hidden states of a student were matched to its teacher's, as evaluation.json says it."""

from __future__ import annotations

from pydantic import Field, FiniteFloat

from potstill.work.figures import Part


class MatchedStatesPart(Part):
    """Hidden states matched beside the divergence (docs/methods/hidden-matching.md)."""

    last: bool = Field(description="Whether the states behind the last norm were.")
    pairs: list[tuple[int, int]] = Field(
        description="Blocks that were: the student's and the teacher's, counted from 0."
    )
    projection_weights: int = Field(
        description="Weights of the projections, which are no part of the student; 0 without any."
    )
    first: FiniteFloat | None = Field(description="Distance of the states at the first step.")
    final: FiniteFloat | None = Field(description="That, at the last step.")
