"""The job that teacher and student are judged on: what an answer is, and how good is enough."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from potstill.recipe.json_schema import schema_problem
from potstill.recipe.plain import labels_problem
from potstill.recipe.section import Section


class TaskConfig(Section):
    """The task: what an answer looks like, and when the student is as good as the teacher."""

    kind: Literal["label", "json", "text"] = Field(
        description="What an answer is: one of `labels`, one JSON object, or short text."
    )
    labels: tuple[str, ...] = Field(
        (),
        description="The allowed labels, with `kind: label`; case, spacing and Markdown do not "
        "count.",
    )
    json_schema: dict[str, Any] | str | None = Field(
        None,
        description="JSON schema of an answer, with `kind: json`: written here, or the path of a "
        ".json file.",
    )
    gold: str | None = Field(
        None,
        description="Column with the right answer. Without it the student is only compared with "
        "the teacher's answers.",
    )
    slice: str | None = Field(
        None, description="Column by whose values the scores are shown one by one."
    )
    apart: tuple[str, ...] = Field(
        (),
        description="Values of `slice` whose rows are scored apart, because they are unlike those "
        "that the student is for: each has scores and a comparison of its own, and counts for "
        "nothing else.",
    )
    margin: float = Field(
        0.03,
        ge=0,
        lt=1,
        description="How much lower than the teacher's the student's score may be and still be "
        "called not worse: 0.03 is three more wrong answers in a hundred.",
    )
    confidence: float = Field(
        0.95, gt=0.5, lt=1, description="Confidence of the interval that decides the word."
    )
    max_tokens: int = Field(
        48, ge=1, description="Longest answer on held-out rows, in tokens; decoding is greedy."
    )

    @model_validator(mode="after")
    def _answers_are_defined(self) -> TaskConfig:
        if self.apart and self.slice is None:
            raise ValueError(
                "task.apart names values of task.slice, which is not set; name the column there"
            )
        if self.kind == "label":
            self._distinct_labels()
        elif self.labels:
            raise ValueError(
                f"task.labels and task.kind {self.kind} cannot be combined: only labels have a "
                "list of allowed answers; set task.kind to label, or remove task.labels"
            )
        if self.json_schema is not None and self.kind != "json":
            raise ValueError(
                f"task.json_schema and task.kind {self.kind} cannot be combined: only JSON has a "
                "schema; set task.kind to json, or remove task.json_schema"
            )
        if isinstance(self.json_schema, dict):
            problem = schema_problem(self.json_schema)
            if problem is not None:
                raise ValueError(f"task.json_schema is no JSON schema: {problem}")
        return self

    def _distinct_labels(self) -> None:
        if len(self.labels) < 2:
            raise ValueError("task.labels needs at least two labels with task.kind label; add them")
        problem = labels_problem(self.labels)
        if problem is not None:
            raise ValueError(f"task.labels {problem}")
