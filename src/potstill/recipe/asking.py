"""What is asked of which teacher, and how it answers."""

from __future__ import annotations

import json
import re
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from potstill.recipe.calls import CallsConfig, TermsConfig, each_once
from potstill.recipe.magpie import MagpieConfig
from potstill.recipe.section import Section, TemplateArguments
from potstill.recipe.watermark import WatermarkConfig

# What a request says by itself, so that `extra` cannot say otherwise.
_OWN_KEYS = ("messages", "model", "n", "stream")


class EndpointConfig(Section):
    """A teacher behind an OpenAI-compatible HTTP server; `teacher.model` is the name to ask for."""

    url: str = Field(
        description="Base URL of the server, with its `/v1`: `http://127.0.0.1:8000/v1`."
    )
    provider: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="Who serves the model, in one word. It is part of the teacher's identity, "
        "`provider/model@revision`; the URL is not.",
    )
    revision: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]*$",
        description="Version of the served model, as you know it; part of its identity.",
    )
    key_env: str | None = Field(
        None,
        description="NAME of the environment variable that holds the key. The key itself stands "
        "in no file.",
    )
    max_in_flight: int = Field(
        64,
        ge=1,
        description="Most requests that are open at once. How many really are adapts to the "
        "server: fewer where it answers 429 or slows down, and where the limit of open files "
        "(`ulimit -n`) leaves room for fewer.",
    )
    requests_per_minute: int | None = Field(
        None,
        ge=1,
        description="How many requests the server permits in a minute, where you know it: "
        "`minutes` counts on no more. Asking itself slows down by what the server answers.",
    )
    timeout_s: float = Field(
        300.0, gt=0, description="Longest wait for a response, in seconds, queueing included."
    )
    tries: int = Field(
        6, ge=1, description="How often a prompt is asked before it counts as failed in this call."
    )
    price_in: float | None = Field(
        None, ge=0, description="Price of a million prompt tokens, in `cost.currency`."
    )
    price_out: float | None = Field(
        None, ge=0, description="Price of a million response tokens, in `cost.currency`."
    )
    budget: float | None = Field(
        None,
        gt=0,
        description="Most money that may be spent, in `cost.currency`: no request is started that "
        "could exceed it.",
    )
    budget_tokens: int | None = Field(
        None, ge=1, description="Most tokens, of prompts and responses, that may be used."
    )
    top_logprobs: int = Field(
        0,
        ge=0,
        description="Ask for the log-probabilities of this many likeliest tokens at each "
        "position, to learn from with `collect.targets: top-k`; 0 for none. They are kept where "
        "every token maps to one id of `student.model`, whose tokenizer must be the teacher's.",
    )
    scores_text: bool = Field(
        False,
        description="The server reads given text and tells the log-probabilities of its tokens, "
        "as vLLM does (`prompt_logprobs`): past calls, right answers and whatever else has no "
        "`top-k` targets get theirs before training, and with `train.on_policy` what the student "
        "writes gets them while it trains.",
    )
    extra: dict[str, Any] = Field(
        {},
        description="More keys for the body of every request, for example "
        "`{chat_template_kwargs: {enable_thinking: false}}`; null takes a key out. Part of an "
        "exchange's identity. With `collect.targets: top-k` it must not change what is drawn.",
    )

    @field_validator("url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            named, secret = bool(parts.hostname), "@" in parts.netloc
            _ = parts.port
        except ValueError:
            parts, named, secret = urlsplit(""), False, False
        if parts.scheme not in ("http", "https") or not named:
            raise ValueError(
                "teacher.endpoint.url must be a URL such as http://127.0.0.1:8000/v1 or "
                "https://host/v1"
            )
        if secret or parts.query or parts.fragment:
            raise ValueError(
                "teacher.endpoint.url must hold neither a user, a key nor a query; put the key in "
                "an environment variable and name that in teacher.endpoint.key_env"
            )
        return url.rstrip("/")

    @field_validator("key_env")
    @classmethod
    def _a_name_and_no_key(cls, name: str | None) -> str | None:
        # The value is not quoted: it may be the key itself.
        if name is not None and not re.fullmatch(r"[A-Z_][A-Z0-9_]{0,63}", name):
            raise ValueError(
                "teacher.endpoint.key_env must be the NAME of an environment variable, in capital "
                "letters, digits and underscores; the key itself belongs into that variable"
            )
        return name

    @model_validator(mode="after")
    def _sound(self) -> EndpointConfig:
        taken = [name for name in _OWN_KEYS if name in self.extra]
        if taken:
            raise ValueError(
                f"teacher.endpoint.extra must not hold {' or '.join(taken)}: potstill sets it "
                "itself; remove it"
            )
        try:
            json.dumps(self.extra, allow_nan=False)
        except (TypeError, ValueError, RecursionError):
            raise ValueError(
                "teacher.endpoint.extra must hold JSON values: text, numbers, true, false, null, "
                "lists and mappings; put dates in quotes"
            ) from None
        if self.budget is not None and (self.price_in is None or self.price_out is None):
            raise ValueError(
                "teacher.endpoint.budget needs teacher.endpoint.price_in and price_out; give both "
                "(0 where it is free), or set budget_tokens instead"
            )
        return self


class TeacherConfig(Section):
    """The model whose outputs are distilled."""

    model: str = Field(
        description="A Hugging Face directory, a hub id, a .gguf file, or `package:NAME` for a "
        "GGUF inside an installed Python package."
    )
    revision: str | None = Field(None, description="Hub revision (branch, tag or commit).")
    trust_remote_code: bool = Field(
        False, description="Run Python code that ships with the model. Recorded in the manifest."
    )
    precision: Literal["int8"] | None = Field(
        None,
        description="`int8` has a teacher that is loaded here write the answers that are learnt "
        "from with byte products, on CPUs that multiply bytes fast (VNNI); it is refused where its "
        "distributions are then more than 0.01 nats a token from its own. Without it the teacher "
        "computes as `precision` says.",
    )
    terms: TermsConfig = Field(TermsConfig(), description="Permission to use the outputs.")
    template_arguments: TemplateArguments = Field(
        default_factory=dict,
        description="What the chat template is given beside the messages, for example "
        "`{enable_thinking: false}`: of a teacher that is loaded here, and of the student that is "
        "made from it or learns its distributions, which keeps it as its template's default.",
    )
    endpoint: EndpointConfig | None = Field(
        None,
        description="The server that is asked, where the teacher's weights are not at hand; "
        "`teacher.model` is then the name that it knows.",
    )


class PromptsConfig(Section):
    """Where prompts come from, and which of them are held out."""

    source: str | tuple[str, ...] = Field(
        "starter",
        description="`starter` (ships with potstill, as do the tasks `routing` and `orders` with "
        "their `-unlabelled` and `-held-out` rows), `magpie` (written by the teacher), a path "
        "(.jsonl, .jsonl.gz, .json, .csv, .tsv, .parquet, .txt), a folder of such files of one "
        "kind, `hf:NAME` with an optional `:SPLIT`, or a list of these.",
    )
    column: str = Field(
        "prompt",
        description="Column that holds the prompt: text, or a conversation (a list of `role` and "
        "`content`, or of ShareGPT's `from` and `value`; also as JSON text), whose last answer is "
        "left off. Rows without a column `prompt` are read by `messages`, `conversations`, "
        "`conversation` or `instruction` (with `input`), whichever they have. Text in a column "
        "`system` (or `system_prompt`) is the row's system message.",
    )
    template: str | None = Field(
        None,
        description="Prompt text over columns, for example `Summarise: {body}`. Columns are put in "
        "as they are; white space around the template itself is left off.",
    )
    system: str | None = Field(
        None, description="System message put before every prompt that has none of its own."
    )
    limit: int | None = Field(None, ge=1, description="Use at most this many training prompts.")
    held_out: str | tuple[str, ...] | None = Field(
        None,
        description="Source of the held-out prompts, same forms as `source`. Without it, "
        "`starter` uses its own held-out split and other sources are split by hash.",
    )
    held_out_count: int = Field(200, ge=1, description="Held-out prompts to evaluate on.")
    validation_count: int = Field(
        32, ge=1, description="Training prompts set aside for choices during shrink and train."
    )
    magpie: MagpieConfig = Field(MagpieConfig(), description="Settings of `source: magpie`.")

    @field_validator("source", "held_out")
    @classmethod
    def _some_source(cls, given: str | tuple[str, ...] | None) -> str | tuple[str, ...] | None:
        if given is not None and not (given and all(given)):
            raise ValueError("name at least one source, and none that is blank")
        return given

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of `source`, each once, in their order."""
        return each_once(self.source)

    @property
    def held_out_sources(self) -> tuple[str, ...] | None:
        """The sources of `held_out`, each once, in their order; None where there are none."""
        return None if self.held_out is None else each_once(self.held_out)


class CollectConfig(Section):
    """How the teacher answers."""

    gold: bool = Field(
        False,
        description="Take the right answers that the rows hold (`task.gold`) and ask nobody: a "
        "model is trained for a task before it teaches it.",
    )
    max_tokens: int = Field(128, ge=1, description="Longest response, in tokens.")
    temperature: float = Field(1.0, ge=0, description="Sampling temperature; 0 is greedy.")
    top_p: float = Field(1.0, gt=0, le=1, description="Nucleus sampling; 1 is no truncation.")
    top_k: int = Field(0, ge=0, description="Sample among the k likeliest tokens; 0 is all.")
    samples: int = Field(1, ge=1, description="Responses for each prompt.")
    slots: int = Field(96, ge=1, description="Responses that are decoded at the same time.")
    wave: int = Field(
        4,
        ge=1,
        description="Prompts in a wave, as a multiple of `slots`. A wave is what a "
        "killed run computes again.",
    )
    targets: Literal["hidden", "hidden-int8", "sampled", "top-k", "none"] = Field(
        "hidden",
        description="What is stored of the teacher's next-token distribution. `hidden`: its final "
        "hidden states, which are all of it, in fp16; `hidden-int8`: the same in half the bytes; "
        "`sampled`: draws from it, for forward KL and cross-entropy; `top-k`: its likeliest "
        "tokens, a lower bound, and all that a server may tell; `none`: text only, and training "
        "asks the teacher again. With `watermark`: `sampled`, from the marked distribution, or "
        "`none` for `gumbel`.",
    )
    draws: int = Field(
        50, ge=1, le=65_535, description="Draws at each position, with `targets: sampled`."
    )
    top_k_targets: int = Field(
        8,
        ge=1,
        description="Tokens kept at each position, with `targets: top-k`; of a server as many as "
        "`teacher.endpoint.top_logprobs` asks for.",
    )
    calls: CallsConfig | None = Field(
        None, description="Stored calls to read in place of asking the teacher."
    )
    watermark: WatermarkConfig | None = Field(
        None, description="Mark the answers that are learnt from; leave it out to mark none."
    )

    @model_validator(mode="before")
    @classmethod
    def _marked_targets(cls, given: Any) -> Any:
        """Take targets that keep the mark, where the recipe leaves the choice."""
        if not isinstance(given, dict) or given.get("watermark") is None or "targets" in given:
            return given
        mark = given["watermark"]
        scheme = mark.get("scheme") if isinstance(mark, dict) else getattr(mark, "scheme", None)
        return {**given, "targets": "none" if scheme == "gumbel" else "sampled"}

    @property
    def answers_given(self) -> bool:
        """Whether answers come in files, gold ones or past calls, and nobody is asked for any."""
        return self.gold or (self.calls is not None and self.calls.use == "exchanges")
