"""Which of the teacher's answers the student learns from."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from potstill.recipe.section import Section


class DecontaminateConfig(Section):
    """Evaluation sets whose text the student must not be trained on."""

    sources: tuple[str, ...] = Field(
        (),
        description="Evaluation sets, each in a form that `prompts.source` takes. A training "
        "exchange that shares a run of words with one of them is dropped.",
    )
    column: str = Field("prompt", description="Column that holds the evaluation sets' text.")
    words: int = Field(
        13,
        ge=5,
        le=50,
        description="Length of the run of words. Shorter evaluation texts count where they stand "
        "whole; those of fewer than 5 words are left out.",
    )
    common: int | None = Field(
        None,
        ge=1,
        description="Leave out runs that stand in more than this many training prompts: they are "
        "a template's. Without it every shared run counts.",
    )


class VerifyConfig(Section):
    """Answers that can be checked, and how."""

    kind: Literal["none", "number", "label", "json", "exact"] = Field(
        "none",
        description="`number`: the last number equals the gold one. `label`: the answer names one "
        "of `labels`, as a task reads it. `json`: it is JSON with nothing around it and fits "
        "`json_schema`. `exact`: it equals the gold answer but for case, spacing, Markdown and "
        "punctuation at the ends. Where a gold answer is known, labels and JSON must equal it too.",
    )
    tolerance: float = Field(
        0.0, ge=0, description="Largest difference between a number and the gold one."
    )
    labels: tuple[str, ...] = Field((), description="The labels that are allowed.")
    json_schema: dict[str, Any] | None = Field(
        None,
        description="JSON schema (draft 2020-12 unless it says otherwise), written out here. "
        "References may only point into itself.",
    )

    @model_validator(mode="after")
    def _what_goes_together(self) -> VerifyConfig:
        if self.kind == "label" and not self.labels:
            raise ValueError("curate.verify.kind label needs curate.verify.labels; list them")
        if self.labels and self.kind != "label":
            raise ValueError(
                f"curate.verify.labels are not used by curate.verify.kind {self.kind}; set it to "
                "label, or remove them"
            )
        if self.json_schema is not None and self.kind != "json":
            raise ValueError(
                f"curate.verify.json_schema is not used by curate.verify.kind {self.kind}; set it "
                "to json, or remove it"
            )
        if self.tolerance and self.kind != "number":
            raise ValueError(
                f"curate.verify.tolerance is not used by curate.verify.kind {self.kind}; set it "
                "to number, or remove it"
            )
        return self


class JudgeConfig(Section):
    """A model that scores answers against a rubric."""

    model: str | None = Field(
        None, description="The judge, written as a teacher is. Without it nobody judges."
    )
    rubric: str = Field(
        "Does the response do what was asked, correctly and completely?",
        min_length=1,
        description="What the judge scores, from 1 (worst) to 5 (best).",
    )
    threshold: float = Field(
        3.0, ge=1, le=5, description="Lowest score with which an answer is kept."
    )
    judge_may_be_teacher: bool = Field(
        False,
        description="Let the teacher judge its own answers. Models favour their own text, so the "
        "report says it.",
    )


FILTER_SETTINGS: dict[str, type[Section]] = {}
"""The settings of each filter that a user registered (`potstill.curate.registry`), by its name."""


class CurateConfig(Section):
    """Which of the teacher's answers the student learns from."""

    truncated: Literal["auto", "drop", "keep"] = Field(
        "auto",
        description="Answers that ended at the token limit. `auto` drops them where the student "
        "learns from text alone, since it would learn to stop in the middle; where the teacher's "
        "distribution is known at every position it keeps them, as nothing follows the cut.",
    )
    refusals: Literal["keep", "drop"] = Field(
        "keep", description="Answers that begin with a refusal, in any of ten languages."
    )
    repetition: Literal["keep", "drop"] = Field(
        "keep", description="Answers that repeat themselves, or end in a loop."
    )
    languages: tuple[str, ...] = Field(
        (),
        description="Languages that answers may have, as ISO 639-1 codes. Without them every "
        "language is kept, and so is text too short to tell.",
    )
    language_confidence: float = Field(
        0.8,
        gt=0,
        le=1,
        description="Drop an answer for its language only where that is at least so probable.",
    )
    exact_duplicates: bool = Field(
        False,
        description="Keep one of several exchanges whose messages and answer are the same but for "
        "case and spacing.",
    )
    near_duplicates: float | None = Field(
        None,
        ge=0.3,
        le=0.95,
        description="Keep one of several exchanges of different prompts whose text is at least so "
        "similar (Jaccard similarity of three-word shingles, a template's left out); 0.7 is usual.",
    )
    decontaminate: DecontaminateConfig = Field(
        DecontaminateConfig(), description="Evaluation sets to stay clear of."
    )
    verify: VerifyConfig = Field(VerifyConfig(), description="Answers that can be checked.")
    keep_shortest: int | None = Field(
        None,
        ge=1,
        description="Of several answers to a prompt that `verify` (or else the judge) passes, keep "
        "this many, shortest first.",
    )
    filters: dict[str, dict[str, Any]] = Field(
        {},
        description="Filters of your own that were registered in Python, each with its settings: "
        "`name: {setting: value}`.",
    )
    reasoning: Literal["keep", "leave_out"] = Field(
        "keep",
        description="Reasoning that comes before an answer (`<think>` and the like): part of what "
        "the student learns, laid out as its chat template does, or left out. It is never judged "
        "as the answer. `train` is an older word for `keep`.",
    )
    judge: JudgeConfig = Field(JudgeConfig(), description="A model that scores answers.")
    examples: int = Field(
        5, ge=0, description="Exchanges named in the report for each reason to drop."
    )

    @field_validator("filters")
    @classmethod
    def _registered(cls, given: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        return {name: _settings(name, values) for name, values in given.items()}

    @field_validator("reasoning", mode="before")
    @classmethod
    def _older_word(cls, value: Any) -> Any:
        return "keep" if value == "train" else value

    @model_validator(mode="after")
    def _shortest_of_what(self) -> CurateConfig:
        if self.keep_shortest and self.verify.kind == "none" and self.judge.model is None:
            raise ValueError(
                "curate.keep_shortest needs curate.verify.kind or curate.judge.model: the "
                "shortest of unchecked answers is the one that says least"
            )
        return self


def _settings(name: str, values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a registered filter with its defaults."""
    kind = FILTER_SETTINGS.get(name)
    if kind is None:
        known = ", ".join(FILTER_SETTINGS)
        close = get_close_matches(name, FILTER_SETTINGS, 1)
        raise ValueError(
            f"curate.filters names {name}, which is not registered; "
            + (f"there are {known}" if known else "register it before the recipe is read")
            + (f" (did you mean {close[0]}?)" if close else "")
        )
    try:
        return kind.model_validate(values).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, ("curate.filters", name, *first["loc"])))
        fault = first["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
        raise ValueError(f"{place}: {fault[0].lower()}{fault[1:]}; correct it") from None
