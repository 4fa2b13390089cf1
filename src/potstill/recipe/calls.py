"""Stored calls, and permission to use outputs."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from potstill.recipe.names import Names
from potstill.recipe.section import Section


class TermsConfig(Section):
    """Permission to use this teacher's outputs, where its licence does not settle it."""

    authorisation: str | None = Field(
        None,
        description="Path of a file in which the rights holder says what is permitted until when "
        "(docs/how-to/terms.md). Needed only where the licence is unknown or forbids it; recorded.",
    )


def each_once(given: str | tuple[str, ...]) -> tuple[str, ...]:
    """Return names, each once, in their order."""
    return tuple(dict.fromkeys((given,) if isinstance(given, str) else given))


# `potstill.logs.forms` registers what each of them is; `auto` is told from the rows.
LOG_FORMS = Names(
    *("auto", "chat", "batch", "litellm", "serving", "sharegpt", "alpaca", "completion", "table")
)


class CallsConfig(Section):
    """Stored calls of a large model, read in place of asking it; leave it out to ask a teacher."""

    path: str | tuple[str, ...] = Field(
        description="File of calls (.jsonl, .ndjson, .json, each also .gz, .parquet, .csv, .tsv), "
        "a folder of such files, or a list of either, all of one form. A batch is its input file "
        "and its output file."
    )
    form: Annotated[str, LOG_FORMS] = Field(
        "auto",
        description="What the files hold. `chat`: `messages`, `request` and `response`, or stored "
        "responses, each as OpenAI's chat, its Responses or Anthropic's Messages; `batch`: a "
        "batch's input and output (OpenAI's, or Anthropic's Message Batches); `litellm`: LiteLLM's "
        "spend logs; `serving`: a serving log of potstill's; `sharegpt`: `conversations`; "
        "`alpaca`: `instruction`, `input` and `output`; `completion`: `prompt` and `completion`, "
        "text or messages; `table`: a prompt and a response in columns; `auto`: told from the "
        "first rows.",
    )
    use: Literal["exchanges", "prompts"] = Field(
        "exchanges",
        description="`exchanges`: train on the logged responses; `prompts`: take only what was "
        "asked, and let the teacher answer.",
    )
    prompt_column: str = Field(
        "prompt", description="Column of the prompt (text, or a list of messages) in a `table`."
    )
    response_column: str = Field("response", description="Column of the response in a `table`.")
    template: str | None = Field(
        None,
        description="Prompt text over columns of a `table`, for example `Summarise: {body}`; in "
        "place of `prompt_column`.",
    )
    whole_requests: bool = Field(
        False,
        description="State that LiteLLM's proxy stored whole requests: what holds a model and one "
        "user's turn alone may come from its setting `latest_turn`, and is left out otherwise.",
    )
    model: str | None = Field(
        None, description="Use only calls of this model, as the log names it. All, if left out."
    )
    source: str | None = Field(
        None,
        description="Whose outputs these are, for the terms gate: the licence of the weights that "
        "answered, or the service (`openai-api`, `chatgpt`). Without it the terms are unknown.",
    )
    max_characters: int = Field(
        100_000, ge=1, description="Leave out calls with more characters: prompt, tools, response."
    )
    terms: TermsConfig = Field(TermsConfig(), description="Permission to use the outputs.")

    @field_validator("path")
    @classmethod
    def _some_path(cls, path: str | tuple[str, ...]) -> str | tuple[str, ...]:
        if not path or not all(path):
            raise ValueError("name at least one file of calls in path")
        return path

    @model_validator(mode="after")
    def _meant_for_the_form(self) -> CallsConfig:
        """Refuse settings that the stated form has no use for."""
        table = [
            name
            for name in ("template", "prompt_column", "response_column")
            if getattr(self, name) != type(self).model_fields[name].default
        ]
        if table and self.form not in ("auto", "table"):
            raise ValueError(
                f"{table[0]} and form {self.form} cannot be combined: it is for tables; take it "
                "out, or set form to table"
            )
        if self.template is not None and "prompt_column" in table:
            raise ValueError(
                "template and prompt_column cannot be combined: each says where the prompt is; "
                "take one out"
            )
        if self.whole_requests and self.form not in ("auto", "litellm"):
            raise ValueError(
                f"whole_requests and form {self.form} cannot be combined: it is for LiteLLM's "
                "spend logs; take it out, or set form to litellm"
            )
        return self

    @property
    def paths(self) -> tuple[str, ...]:
        """The files, each once, in their order."""
        return each_once(self.path)
