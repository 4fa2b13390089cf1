"""What a mark in training answers cost and what it can be found by, as evaluation.json holds it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat

from potstill.work.figures import Part


class MarkedAnswers(Part):
    """The mark in training and validation answers, and its effect on a sample of them."""

    key_id: str = Field(description="Digest of the epoch's key; the key itself is stored nowhere.")
    mark_id: str = Field(
        description="Digest of key, scheme and parameters: `watermark_key_id` of the exchanges."
    )
    epoch: str = Field(description="The epoch whose key marks.")
    scheme: Literal["green", "gumbel"] = Field(description="How tokens are marked.")
    parameters: dict[str, FiniteFloat] = Field(description="Window, and a green list's numbers.")
    answers: int = Field(description="Marked answers in the store.")
    tokens: int = Field(description="Their tokens.")
    marked_tokens: int = Field(
        description="Those that the key had a say in: behind a whole window of the answer that had "
        "not stood in it before; 0 at temperature 0."
    )
    sample: int = Field(description="Answers that the rest was measured on, drawn by their ids.")
    perplexity_marked: FiniteFloat = Field(
        description="Perplexity of the sample under the teacher, which knows no mark."
    )
    perplexity_unmarked: FiniteFloat = Field(
        description="The same of answers to the same prompts, drawn with the same random numbers "
        "and without a mark."
    )
    kl_per_token: FiniteFloat | None = Field(
        description="KL(marked || unmarked distribution) at the sample's tokens, nats a token; "
        "null for `gumbel`, whose text has the teacher's distribution on average over keys."
    )
    doubts: list[str] = Field(description="What speaks against marking like this.")
