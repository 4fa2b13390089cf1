"""What a student learnt from answers of its own, as evaluation.json says it."""

from __future__ import annotations

from pydantic import Field, FiniteFloat

from potstill.work.figures import Part


class OwnTextPart(Part):
    """Steps on the student's own answers (docs/methods/on-policy.md)."""

    steps: int = Field(description="Steps that learnt from them.")
    stored_steps: int = Field(description="Steps that learnt from stored answers.")
    answers: int = Field(description="Answers that it wrote.")
    response_tokens: int = Field(description="Tokens that it wrote.")
    cut: int = Field(description="Answers that were cut off at `train.on_policy.max_tokens`.")
    repeated: int = Field(description="Answers that repeat themselves.")
    overlap_first: FiniteFloat = Field(
        description="Share of its 16 likeliest tokens that are among its teacher's 16, at its "
        "first own answers."
    )
    overlap_last: FiniteFloat = Field(description="That, at its last own answers.")
    slots_busy: FiniteFloat = Field(description="Share of the decoder's places that did work.")
    writing_s: FiniteFloat = Field(description="Seconds that it wrote.")
    scoring_s: FiniteFloat = Field(description="Seconds that the teacher read what it wrote.")
