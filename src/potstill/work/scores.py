"""How answers to a task and calls of tools are scored, as evaluation.json holds it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field, FiniteFloat

from potstill.work.figures import Estimate, Part

if TYPE_CHECKING:
    from potstill.stats import equivalence

# A slice with fewer rows is shown, but is never called the worst.
SMALLEST_SLICE = 20


class ModelScores(Part):
    """One model's answers."""

    readable: Estimate = Field(description="Share of responses in which an answer was found.")
    valid: Estimate | None = Field(
        None, description="JSON: share of responses whose object fits the schema."
    )
    exact: Estimate | None = Field(None, description="Share of answers equal to the gold ones.")
    f1: Estimate | None = Field(
        None,
        description="Mean F1 of words (JSON: of fields with their values) with the gold answer.",
    )
    fields: dict[str, Estimate] | None = Field(
        None, description="JSON: share of rows in which this field is right, where gold has it."
    )


class Compared(Part):
    """The student's score minus the teacher's, on the same rows, and the word for it."""

    difference: FiniteFloat = Field(description="Mean of the paired differences.")
    interval: tuple[FiniteFloat, FiniteFloat] = Field(description="Ends of its interval.")
    confidence: FiniteFloat = Field(description="Confidence of the interval.")
    margin: FiniteFloat = Field(description="How much lower is still called not worse.")
    n: int = Field(ge=1, description="Rows.")
    word: Literal["better", "not worse", "worse", "inconclusive"] = Field(
        description="What the interval says; `not worse` means within the margin."
    )
    needed: int | None = Field(
        None, description="Rows that would decide, where the word is inconclusive."
    )
    sentence: str = Field(description="The word as it is printed.")

    @classmethod
    def of(cls, found: equivalence.Comparison) -> Compared:
        """Return a comparison as it is written."""
        return cls(
            difference=found.difference,
            interval=(found.lo, found.hi),
            confidence=found.confidence,
            margin=found.margin,
            n=found.n,
            word=found.word,
            needed=found.needed,
            sentence=found.sentence,
        )


class SliceScores(Part):
    """The rows with one value of the slice column."""

    name: str = Field(description="The value.")
    n: int = Field(ge=1, description="Rows.")
    teacher: Estimate | None = Field(None, description="The teacher's score, with gold answers.")
    student: Estimate | None = Field(None, description="The student's score, with gold answers.")
    agreement: Estimate | None = Field(
        None, description="Share of rows in which both give the same answer."
    )
    comparison: Compared | None = Field(
        None, description="Student against teacher, for a slice that is scored apart."
    )


class TaskScores(Part):
    """How teacher and student do the task on held-out rows."""

    kind: Literal["label", "json", "text"] = Field(description="What an answer is.")
    n: int = Field(ge=1, description="Held-out rows, without those that are scored apart.")
    apart: int = Field(0, ge=0, description="Rows of slices that are scored apart.")
    left_out: dict[str, int] = Field(
        {}, description="Held-out rows that are not scored, by reason, as in `held_out.left_out`."
    )
    score: Literal["exact", "f1"] | None = Field(
        description="The score that is compared: `f1` for text, else `exact`; null without gold."
    )
    teacher: ModelScores | None = Field(
        None, description="The teacher's answers; null where right answers are all there is."
    )
    student: ModelScores = Field(description="The student's answers.")
    agreement: Estimate | None = Field(
        None,
        description="Share of rows in which both give the same answer; none is the same as none.",
    )
    comparison: Compared | None = Field(
        None, description="Student against teacher; null without gold answers, or a teacher's."
    )
    retention: Estimate | None = Field(
        None, description="The student's score over the teacher's; null where that is 0."
    )
    slices: list[SliceScores] = Field(description="By the slice column, worst first.")
    worst_slice: str | None = Field(
        None, description=f"The worst of the slices with at least {SMALLEST_SLICE} rows."
    )


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
