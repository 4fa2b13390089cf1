"""What every section of evaluation.json is made of."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from potstill.stats.bootstrap import Interval


class Part(BaseModel):
    """Base of every section: immutable, and unknown keys are an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Estimate(Part):
    """A measured value with its 95% interval over prompts (docs/methods/intervals.md)."""

    value: FiniteFloat = Field(description="The estimate, over all prompts.")
    ci95: tuple[FiniteFloat, FiniteFloat] | None = Field(
        description="Ends of the 95% interval; null where prompts do not differ, or there is one."
    )
    n: int = Field(ge=1, description="Prompts that it was measured on.")

    @classmethod
    def of(cls, interval: Interval) -> Estimate:
        """Return an interval as it is written."""
        return cls(**interval.as_dict())

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.ci95 is not None and not self.ci95[0] < self.ci95[1]:
            raise ValueError("the ends of an interval differ and are in order: low, high")
        return self


class CallScores(Part):
    """The student's calls of tools against the teacher's, on held-out prompts: greedy answers.

    An answer is right where it holds as many calls as one of the teacher's to the same prompt,
    and each has the name and, as JSON, the arguments of one of those (docs/methods/tool-calls.md).
    """

    prompts: int = Field(ge=1, description="Held-out prompts that the teacher answered with calls.")
    right: Estimate = Field(description="Share of these that the student answered with the same.")
    outcomes: dict[Literal["right", "other_arguments", "other_name", "no_call"], int] = Field(
        description="How many were `right`, had `other_arguments` for the same functions, an "
        "`other_name` or number of calls, and `no_call`."
    )
    text_prompts: int = Field(
        ge=0, description="Held-out prompts with tools on offer that it answered in text alone."
    )
    left_out: int = Field(
        0, ge=0, description="Held-out prompts of either kind that are longer than it reads."
    )
    text_kept: Estimate | None = Field(
        description="Share of these that the student answered without a call, too."
    )
