"""What a student learnt from answers of its own, as evaluation.json says it."""

from __future__ import annotations

from pydantic import Field, FiniteFloat

from potstill.work.figures import Part


class OwnTextServed(Part):
    """What a server took that read the student's own text (docs/methods/on-policy.md#servers)."""

    likeliest: int = Field(
        description="Tokens that it told a position. The divergence is that of these and one "
        "bucket for the rest."
    )
    texts: int = Field(description="Texts that it was given, by all calls of the run.")
    prompt_tokens: int = Field(description="Tokens that it read, as it was charged for them.")
    response_tokens: int = Field(description="Tokens that it wrote, one a text, thrown away.")
    money: FiniteFloat | None = Field(
        description="What that cost, in `cost.currency`; null without prices."
    )
    untold_first: FiniteFloat | None = Field(
        description="Mass that the student gave to tokens which it did not tell, at the first own "
        "answers: how these share it is not learnt."
    )
    untold_last: FiniteFloat | None = Field(description="That, at the last own answers.")


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
    served: OwnTextServed | None = Field(
        None, description="What a server took that read it; null where the teacher was in memory."
    )
