"""What a trace is asked for, in the file that a user writes: `trace.yaml`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from potstill.recipe.asking import EndpointConfig
from potstill.recipe.section import Section, TemplateArguments
from potstill.recipe.watermark import WatermarkConfig

# The chance of a false accusation that a verdict is held to, over all that is tried.
ALPHA = 1e-4


class TracedTeacherConfig(Section):
    """The model whose outputs are meant."""

    name: str = Field(
        min_length=1,
        description="What the verdict calls it. The chain of plans is this teacher's.",
    )
    model: str | None = Field(
        None,
        description="Its weights: a folder, a hub id, a GGUF file or `package:NAME`. Twins, "
        "weights and agreement need them; a mark needs the tokenizer alone.",
    )
    revision: str | None = Field(None, description="Revision of a hub id.")
    identity: str | None = Field(
        None,
        description="What identifies it where its weights are not here: a digest or a label that "
        "stays the same.",
    )
    tokenizer: str | None = Field(
        None,
        description="A folder with its tokenizer, where that is not the model's. Marks are in the "
        "teacher's ids.",
    )

    @model_validator(mode="after")
    def _identified(self) -> TracedTeacherConfig:
        if self.model is None and self.identity is None:
            raise ValueError(
                "teacher.model or teacher.identity has to say who the teacher is; add one of them"
            )
        return self


class SuspectConfig(Section):
    """Who is tested: a model's weights, a server, or texts that it is known to have written."""

    name: str = Field(min_length=1, description="What the verdict calls it.")
    model: str | None = Field(
        None,
        description="Its weights: a folder, a hub id, a GGUF file or `package:NAME`; with "
        "`endpoint` the name to ask the server for.",
    )
    revision: str | None = Field(None, description="Revision of a hub id.")
    trust_remote_code: bool = Field(
        False, description="Run code that comes with the model. Leave it off for a suspect."
    )
    template_arguments: TemplateArguments = Field(
        {}, description="Arguments of its chat template, for example `{enable_thinking: false}`."
    )
    endpoint: EndpointConfig | None = Field(
        None, description="The server that it answers at, where its weights are not here."
    )
    texts: tuple[str, ...] = Field(
        (), description="Files of texts that it wrote, collected before; it is asked nothing then."
    )
    parameters: int | None = Field(
        None,
        ge=1,
        description="How many weights it has, where that is known and they are not here: what a "
        "test would have seen depends on it.",
    )

    @model_validator(mode="after")
    def _one_kind(self) -> SuspectConfig:
        if bool(self.texts) == (self.model is not None):
            raise ValueError("suspect needs a model or texts, and not both; name one of them")
        if self.endpoint is not None and self.texts:
            raise ValueError("suspect.endpoint answers, and texts were written before; keep one")
        return self


class MarkTextConfig(Section):
    """A key's mark in what the suspect writes: the weak tool, which needs only its answers."""

    samples: int = Field(4, ge=1, description="Answers to each prompt.")
    temperature: float = Field(
        0.7, ge=0, description="What answers are drawn at; below 1 more of a mark shows."
    )
    max_tokens: int = Field(128, ge=1, description="Longest answer, in tokens.")
    least_answers: int | None = Field(
        None,
        ge=1,
        description="In how many answers a pair of window and token has to stand to be scored. By "
        "default one in 256 of those that are asked for, and 2 at least.",
    )
    sequential: bool = Field(
        False, description="Stop as soon as enough is found; p is then that of a sequential test."
    )


class MarkReadingConfig(Section):
    """A key's mark in what the suspect chooses when it reads served text: the strong tool."""

    texts: str = Field(
        min_length=1,
        description="The marked texts that were served: a serving log, a run directory, or JSONL "
        "rows of `prompt_ids` and `ids`.",
    )
    positions: int = Field(10_000, ge=1, description="How many choices are scored.")
    sequential: bool = Field(False, description="Stop as soon as enough is found.")


class TwinsConfig(Section):
    """Served answers, each among fresh ones that could have been served in its place."""

    log: str = Field(min_length=1, description="The serving log of the answers.")
    exchanges: int = Field(1000, ge=1, description="At most so many exchanges of it.")
    twins: int = Field(9, ge=1, description="Fresh answers to each prompt.")
    drawn: str | None = Field(
        None,
        description="Where another engine than potstill served: the file of the twins that it "
        "drew. `potstill trace run` says what is to be drawn, and goes on when the file is there.",
    )
    reference: str | None = Field(
        None,
        description="A clean model whose log-likelihood is taken off the suspect's: what is "
        "ranked spreads less.",
    )
    per_token: bool = Field(False, description="Average over an answer's tokens, not their sum.")
    sequential: bool = Field(False, description="Stop as soon as enough is found.")


class OrderConfig(Section):
    """The order that one training run of the teacher read its rows in."""

    run: str = Field(min_length=1, description="That run's directory.")
    reference: str = Field(
        min_length=1, description="A model that does not come from the run, taken off."
    )
    rows: int | None = Field(None, ge=2, description="At most so many training rows are asked.")
    redraws: int = Field(9999, ge=99, description="Fresh secrets that the order is compared with.")


class WeightsConfig(Section):
    """Whether the weights of suspect and teacher have a common origin."""

    how: Literal["in-place", "shuffled"] = Field(
        "in-place",
        description="`in-place`: unit by unit, exact for equal widths; `shuffled`: whatever order "
        "units were put in, which supports and proves nothing.",
    )


class AgreementConfig(Section):
    """Whether the suspect goes along with the teacher's greedy answers further than controls do.

    Prompts whose answers by the teacher begin with one token, or end in one loop, count as one; of
    fewer than 20 different ones nothing follows.
    """

    longest: int = Field(64, ge=1, description="Tokens of an answer that are compared at most.")


class TraceTestsConfig(Section):
    """The tests of the plan; those that are named are done, in this order."""

    watermark_text: MarkTextConfig | None = Field(None, description="Marks in the answers.")
    watermark_reading: MarkReadingConfig | None = Field(None, description="Marks in choices.")
    twins: TwinsConfig | None = Field(None, description="Served answers among their twins.")
    order: OrderConfig | None = Field(None, description="The order of training.")
    weights: WeightsConfig | None = Field(None, description="A common origin of weights.")
    agreement: AgreementConfig | None = Field(None, description="Greedy answers compared.")

    @property
    def named(self) -> tuple[str, ...]:
        """The fields of the tests that are named."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)

    @model_validator(mode="after")
    def _something(self) -> TraceTestsConfig:
        if not self.named:
            raise ValueError(
                "tests names none; name one or more of watermark_text, watermark_reading, twins, "
                "order, weights and agreement (`weights: {}` takes all defaults)"
            )
        return self


class TracePromptsConfig(Section):
    """What the suspect is asked, where a test asks for answers."""

    source: str | None = Field(
        None, description="A file of prompts: JSONL, CSV, Parquet or text, as for distillation."
    )
    count: int = Field(200, ge=1, description="How many of its prompts, from the first on.")


class TraceConfig(Section):
    """One trace: who is tested, by what, and how sure a verdict has to be."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Name of the trace; its directory is runs/NAME unless --out says otherwise.",
    )
    chain: str = Field(
        min_length=1,
        description="The file of the teacher's chain of plans, one for each teacher; it is made "
        "where there is none. Every plan is added to it, and none is ever taken out.",
    )
    alpha: float = Field(
        ALPHA,
        gt=0,
        lt=0.5,
        description="The chance of a false claim of a tier that is allowed, over all that is ever "
        "tried with this teacher.",
    )
    device: str = Field("auto", description="`auto`, `cpu`, `cuda`, `cuda:N` or `mps`.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="Precision of the matrix products."
    )
    slots: int = Field(16, ge=1, description="Texts that are read or written at once.")
    teacher: TracedTeacherConfig = Field(description="The model whose outputs are meant.")
    suspect: SuspectConfig = Field(description="Who is tested.")
    controls: tuple[str, ...] = Field(
        (),
        description="Models that are known not to be distilled from the teacher, asked as the "
        "suspect is. Twins need three or more, agreement one or more.",
    )
    watermark: WatermarkConfig | None = Field(
        None, description="The mark that is looked for, where a test looks for one."
    )
    prompts: TracePromptsConfig = Field(
        TracePromptsConfig(), description="What the suspect is asked."
    )
    tests: TraceTestsConfig = Field(description="What is tested.")

    @model_validator(mode="after")
    def _together(self) -> TraceConfig:
        named = self.tests.named
        marks = [name for name in named if name.startswith("watermark")]
        if marks and self.watermark is None:
            raise ValueError(
                f"tests.{marks[0]} looks for a mark, and watermark names none; name the key's file "
                "in watermark.key"
            )
        asks = [name for name in named if name in ("watermark_text", "agreement")]
        if asks and self.prompts.source is None and not self.suspect.texts:
            raise ValueError(
                f"tests.{asks[0]} asks the suspect something; name a file in prompts.source"
            )
        for test, least in (("twins", 3), ("agreement", 1)):
            if test in named and len(self.controls) < least:
                raise ValueError(
                    f"tests.{test} needs {least} or more models in controls that are known not to "
                    "be distilled from the teacher; add them"
                )
        needs_teacher = [name for name in named if name in ("twins", "weights", "agreement")]
        if needs_teacher and self.teacher.model is None:
            raise ValueError(
                f"tests.{needs_teacher[0]} needs the teacher's weights; name them in teacher.model"
            )
        return self
