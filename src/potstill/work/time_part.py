"""The section `time` of evaluation.json: what was foretold, what was taken, what more would buy."""

from __future__ import annotations

from pydantic import Field, FiniteFloat

from potstill.work.figures import Part


class TimedStage(Part):
    """One row of the plan."""

    stage: str = Field(description="Its name.")
    amount: str = Field(description="How much it did, in words.")
    at_start: FiniteFloat = Field(description="Seconds that were foretold at the start.")
    predicted: FiniteFloat = Field(description="Seconds that were foretold when it began.")
    taken: FiniteFloat | None = Field(None, description="Seconds that it took.")


class MoreTime(Part):
    """What more training would have bought, from the validation curve of this training.

    It holds for up to twice the steps, under the assumption that doublings bring less and less, as
    the last two did: between nothing and `last_doubling`.
    """

    steps: int = Field(description="Steps that were done; as many more are meant.")
    seconds: FiniteFloat = Field(description="Seconds that as many more steps would take.")
    measure: FiniteFloat = Field(description="The measure on validation prompts at the end.")
    last_doubling: FiniteFloat = Field(
        description="What the last doubling of the steps lowered it by."
    )
    doubling_before: FiniteFloat = Field(description="What the one before lowered it by.")


class TimePart(Part):
    """The minutes of a run."""

    minutes: FiniteFloat | None = Field(
        None, description="The minutes that it was given; null where it was only foretold."
    )
    estimate: FiniteFloat = Field(
        description="Seconds that were foretold at the start, from the start of the process on."
    )
    used: FiniteFloat = Field(
        description="Seconds of all calls until this was written; report and manifest come after."
    )
    stages: list[TimedStage] = Field(description="The plan, by stage.")
    replanned: int = Field(0, description="How often the clock changed the number of steps.")
    more: MoreTime | None = Field(
        None, description="What more training would have bought; null where nothing can be told."
    )
