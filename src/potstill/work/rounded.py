"""How answers were written in int8, and how far that is from the teacher's own, as recorded."""

from __future__ import annotations

from pydantic import Field, FiniteFloat

from potstill.work.figures import Estimate, Part


class RoundedAnswers(Part):
    """What multiplying bytes came to in the answers that are learnt from."""

    kl_per_token: Estimate = Field(
        description="KL(the teacher || the teacher in int8) at the tokens of its own held-out "
        "answers, nats a token."
    )
    share: FiniteFloat = Field(
        description="Share of the body's parameters, embeddings aside, that are in int8 maps."
    )
    channels: int = Field(description="Channels of a map that stay as they are, at most.")
    calibration: int = Field(description="Prompts on which they were found.")
