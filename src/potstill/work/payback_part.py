"""The section `payback` of evaluation.json."""

from __future__ import annotations

from pydantic import Field, FiniteFloat

from potstill.work.figures import Part


class PaybackPart(Part):
    """What 1,000 calls cost, and when the student has paid for itself (docs/methods/tasks.md)."""

    teacher_per_1000_calls: FiniteFloat = Field(description="The teacher's.")
    student_per_1000_calls: FiniteFloat = Field(description="The student's.")
    saved_per_1000_calls: FiniteFloat = Field(description="Below 0 where the student is dearer.")
    spent: FiniteFloat = Field(description="What making the student cost, all stages.")
    calls: int | None = Field(
        description="Calls from which on the student is the cheaper way; null where it never is."
    )
