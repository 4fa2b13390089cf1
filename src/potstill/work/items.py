"""What was measured of each held-out prompt, without any text: figures follow from it.

`items.json` lies in a student's directory. Rows are in the order in which prompts were measured;
nothing names a prompt, so that nobody can ask a copied student which prompts these were.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat

from potstill.work.figures import Part

ITEMS_FILE = "items.json"
Schema = Literal["potstill/items/1"]
SCHEMA: Schema = "potstill/items/1"
Numbers = tuple[FiniteFloat, ...]


class StudentItems(Part):
    """One student on the teacher's text: sums over the response positions of each prompt."""

    tokens: Numbers = Field(description="Positions, end of sequence included.")
    nll: Numbers = Field(description="Negative log-likelihood of the responses, nats.")
    kl: Numbers | None = Field(None, description="KL(teacher || student), nats.")
    agree: Numbers | None = Field(
        None, description="Positions where both find the same token likeliest."
    )
    teacher_nll: Numbers | None = Field(
        None,
        description="The teacher's negative log-likelihood under the distribution that students "
        "are compared with.",
    )
    mass_removed: Numbers | None = Field(
        None, description="The teacher's probability on tokens that the student lacks."
    )
    own_tokens: Numbers | None = Field(
        None, description="Positions of what the student itself wrote to each prompt."
    )
    own_kl: Numbers | None = Field(
        None, description="KL(student || teacher) over these, nats; null where not measured."
    )


class TextItems(Part):
    """What was measured on one kind of the teacher's text, one number a prompt."""

    bytes: Numbers = Field(description="UTF-8 bytes of the responses.")
    teacher_nll: Numbers | None = Field(
        None, description="The teacher's negative log-likelihood in its own tokens, nats."
    )
    students: dict[str, StudentItems] = Field(description="By the models' names.")


class AnswerItems(Part):
    """A model's answers to a task, one entry a row."""

    readable: tuple[bool, ...] = Field(description="Whether an answer was found.")
    valid: tuple[bool, ...] | None = Field(None, description="JSON: whether it fits the schema.")
    exact: tuple[bool, ...] | None = Field(None, description="Whether it equals the gold one.")
    f1: Numbers | None = Field(None, description="F1 with the gold answer.")
    fields: tuple[dict[str, bool], ...] | None = Field(
        None, description="JSON: which of the gold answer's fields are right."
    )


class TaskItems(Part):
    """How both did the task, row by row, and how it is scored."""

    kind: Literal["label", "json", "text"] = Field(description="What an answer is.")
    margin: FiniteFloat = Field(description="How much lower is still called not worse.")
    confidence: FiniteFloat = Field(description="Confidence of the comparison's interval.")
    apart: tuple[str, ...] = Field((), description="Slices that are scored apart.")
    slices: tuple[str | None, ...] = Field(description="The slice of each row.")
    student: AnswerItems = Field(description="The student's answers.")
    teacher: AnswerItems | None = Field(None, description="The teacher's, where there is one.")
    agree: tuple[bool, ...] | None = Field(
        None, description="Whether both gave the same answer; null without a teacher."
    )


class CallItems(Part):
    """The student's calls of tools, prompt by prompt."""

    outcomes: tuple[Literal["right", "other_arguments", "other_name", "no_call"], ...] = Field(
        description="Of prompts that the teacher answered with calls."
    )
    text_kept: tuple[bool, ...] = Field(
        (), description="Of prompts that it answered in text: whether the student called nothing."
    )


class Items(Part):
    """The whole file."""

    schema_name: Schema = Field(
        SCHEMA, alias="schema", description="Name and version of this schema."
    )
    resamples: int = Field(description="Resamples of each interval.")
    seed: int = Field(description="The seed that resamples are drawn by.")
    sampled: TextItems | None = Field(None, description="On text drawn at temperature 1.")
    greedy: TextItems | None = Field(None, description="On the teacher's greedy text.")
    task: TaskItems | None = Field(None, description="The task, where there is one.")
    calls: CallItems | None = Field(None, description="Calls of tools, where there are any.")
