"""What every section of evaluation.json is made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

if TYPE_CHECKING:
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
