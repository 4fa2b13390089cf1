"""The serving log: one row for each answer that was served, with what is needed to draw it again.

Whether a model was trained on one's served answers can be told later if, and only if, fresh
answers can be drawn as these were: from the same weights by the same engine, with the same
prompt, sampling and template. So a row says all of that, or says null: nothing is filled in.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from potstill.canonical import canonical_json, digest_of, labelled, parsed
from potstill.logs.accounts import Account
from potstill.logs.call import CallFacts, Reason, Record, Values
from potstill.logs.chat_parts import answer_of_message, ask_of, record_of
from potstill.logs.merkle import leaf_hash
from potstill.logs.values import name
from potstill.text.turns import Message, prompt_id_of

SERVING_SCHEMA: Literal["potstill/serving-log/1"] = "potstill/serving-log/1"
_FAMILY = "potstill/serving-log/"
_MOMENT = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|\+00:00)$"

# Beside the prompt: everything that an answer is drawn by, but for its seed.
_DRAWN_BY: Any = {
    "sampling": {"temperature", "top_p", "top_k", "max_tokens", "others"},
    **dict.fromkeys(("engine", "snapshot", "dtype", "template", "tokenizer", "watermark"), True),
}

TokenIds = tuple[Annotated[int, Field(ge=0, lt=2**32)], ...]
Known = Annotated[str, Field(min_length=1, max_length=300)]


class _Part(BaseModel):
    # What a row holds is somebody's text, and is quoted in no error.
    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, hide_input_in_errors=True, allow_inf_nan=False
    )


class ServedSampling(_Part):
    """How an answer was drawn; null where it is not known."""

    temperature: float | None = Field(None, ge=0, description="0 is greedy.")
    top_p: float | None = Field(None, gt=0, le=1, description="1 truncates nothing.")
    top_k: int | None = Field(None, ge=0, description="0 truncates nothing.")
    max_tokens: int | None = Field(None, ge=1, description="Longest response, in tokens.")
    seed: int | None = Field(None, description="As the request stated it.")
    n: int = Field(1, ge=1, description="How many answers the request asked for.")
    others: tuple[Known, ...] = Field(
        (),
        description="Names of all else in the request that changes what is drawn: penalties, "
        "biases, grammars, stop sequences.",
    )


class ServedEngine(_Part):
    """What software answered."""

    name: Known = Field(description="For example `vllm`.")
    version: Known | None = Field(None, description="Its version.")
    build: Known | None = Field(
        None, description="What else decides its arithmetic: a commit, an image's digest, a GPU."
    )


class ServedMark(_Part):
    """The watermark that an answer carries."""

    key_id: Known = Field(description="Digest that names the key; never the key.")
    scheme: Known = Field(description="`green`, `gumbel`, or another's name.")


class ServedCall(_Part):
    """One row: one answer to one request."""

    # What a row says of itself goes first.
    form: Literal["potstill/serving-log/1"] = Field(
        SERVING_SCHEMA, alias="schema", description="Name and version of this schema."
    )
    request_id: Known = Field(description="The service's own name of the request.")
    index: int = Field(0, ge=0, description="Which of the request's n answers this is.")
    at: str = Field(pattern=_MOMENT, description="When it was asked: ISO 8601 in UTC.")
    account: Known | None = Field(None, description="Who asked; a name or a hash, never a key.")
    model: Known | None = Field(None, description="The model's name, as it was asked for.")
    messages: tuple[Message, ...] = Field(description="What was asked, oldest message first.")
    tools: str | None = Field(None, description="Tools on offer, as JSON text.")
    turn: int = Field(
        ge=1, description="1 for a first turn: one more than the assistant's turns in `messages`."
    )
    prompt: str | None = Field(None, description="The rendered prompt as text.")
    prompt_token_ids: TokenIds | None = Field(None, description="The rendered prompt as ids.")
    sampling: ServedSampling = Field(description="How the answer was drawn.")
    engine: ServedEngine | None = Field(None, description="What software answered.")
    snapshot: Known | None = Field(
        None, description="Which weights answered: their digest, or the owner's own label."
    )
    dtype: Known | None = Field(None, description="What was computed in: `bfloat16`.")
    template: Known | None = Field(None, description="Digest of the chat template.")
    tokenizer: Known | None = Field(None, description="Digest of the tokenizer.")
    response: str = Field(description="The answer as text; empty where tools alone were called.")
    reasoning: str | None = Field(None, description="Reasoning that preceded it.")
    tool_calls: str | None = Field(None, description="Calls of tools, as JSON text.")
    response_token_ids: TokenIds | None = Field(
        None, description="The answer as it was drawn, id by id, its end included."
    )
    finish_reason: Known | None = Field(None, description="`stop`, `length`, or the server's word.")
    watermark: ServedMark | Literal["none"] | None = Field(
        description="The mark it carries; `none` where it carries none; null where nobody said."
    )
    cached: bool = Field(False, description="Whether it is an earlier answer, from a cache.")
    salt: str | None = Field(
        None,
        pattern="^[0-9a-f]{32}$",
        description="Random, so that the row's hash tells nothing of its text.",
    )

    @model_validator(mode="after")
    def _turn_of_its_messages(self) -> Self:
        if self.turn != turn_of(self.messages):
            raise ValueError("turn is one more than the assistant's turns in messages")
        if self.tools is not None and not isinstance(parsed(self.tools), list):
            raise ValueError("tools is the JSON text of a list")
        if self.index >= self.sampling.n:
            raise ValueError("index is below sampling.n")
        return self

    @property
    def prompt_id(self) -> str:
        """The digest that names what was asked."""
        return prompt_id_of(self.messages, self.tools)

    @property
    def exchange_id(self) -> str:
        """The name of this answer among all of the log: the request's, and which of its answers."""
        return f"{self.request_id}#{self.index}"

    def line(self) -> bytes:
        """Return the row as it is written: canonical JSON, without the line's end."""
        return canonical_json(self.model_dump(mode="json", by_alias=True))

    @property
    def digest(self) -> str:
        """The digest of the row, salted where it has a salt: its leaf in the day's tree."""
        return f"sha256:{leaf_hash(self.line()).hex()}"


def turn_of(messages: tuple[Message, ...]) -> int:
    """Return which turn of a conversation is answered: 1 where the assistant has said nothing."""
    return 1 + [message.get("role") for message in messages].count("assistant")


def served_row(values: Values) -> ServedCall | None:
    """Return a row of a serving log, None where it is none of this schema."""
    try:
        return ServedCall.model_validate_json(canonical_json(values))
    except (ValidationError, ValueError, TypeError, RecursionError):
        return None


def is_served_row(values: Values) -> bool:
    """Tell whether a row says that it is one of a serving log, of this version or another."""
    stated = values.get("schema")
    return isinstance(stated, str) and stated.startswith(_FAMILY)


def read_served(values: Values) -> Record:
    """Read a row of a serving log as a past call."""
    row = served_row(values)
    if row is None:
        return Record(Reason.NO_CALL, (Reason.NO_CALL,))
    stated = row.sampling.model_dump(exclude={"n", "others"})
    ask = ask_of({"messages": list(row.messages), "tools": row.tools, **stated})
    said: dict[str, Any] = {
        "content": row.response,
        "reasoning_content": row.reasoning,
        "tool_calls": row.tool_calls,
    }
    facts = CallFacts(model=name(row.model), usage=_usage(row), created_at=row.at)
    return record_of(
        ask, (answer_of_message(said, row.finish_reason),), facts, row_id=row.exchange_id
    )


def account_served(values: Values) -> Account:
    """Return who asked, by a row of a serving log."""
    row = served_row(values)
    return Account() if row is None else Account(user=row.account, at=row.at)


def configuration_of(row: ServedCall) -> str:
    """Return the digest of all that answers are drawn by, beside their prompts and seeds."""
    return labelled(digest_of(row.model_dump(mode="json", include=_DRAWN_BY)))


def _usage(row: ServedCall) -> dict[str, int]:
    counts = {
        "prompt_tokens": row.prompt_token_ids,
        "completion_tokens": row.response_token_ids,
    }
    return {key: len(ids) for key, ids in counts.items() if ids is not None}
