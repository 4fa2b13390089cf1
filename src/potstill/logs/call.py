"""What one row of a log holds: a request, its answers, or why there is none to use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from potstill.text.turns import Message, Turns

Values = dict[str, Any]


class Reason(StrEnum):
    """Why a row, or an answer, is left out."""

    UNREADABLE = "unreadable"
    NO_CALL = "no chat call in this form"
    NO_PROMPT = "no prompt"
    OPEN_PROMPT = "a prompt that does not end with a user's message or a tool's result"
    NO_RESPONSE = "no response"
    NO_REQUEST = "a response without its request"
    SAME_ID = "a custom_id that several requests share"
    ERROR = "error"
    FILTERED = "refused, or stopped by a content filter"
    REFUSED = "refused by the service"
    END_BLANK = "how it ended is left blank where this form states it"
    END_UNKNOWN = "ended in a way that is not known"
    REDACTED = "redacted"
    NOT_STORED = "messages that the log does not hold"
    LAST_TURN = "a request that may hold no more than its last turn"
    CUT = "cut short by the log"
    TOOL_KIND = "a kind of tool that is no function"
    CALL_NAME = "a tool call that names no function"
    CALL_ARGUMENTS = "a tool call whose arguments are no JSON object"
    CALL_NOT_STORED = "ended to call a tool, without the call"
    TOOLS_UNREADABLE = "tools that cannot be read"
    FILLED_IN = "calls or tools in struct columns, which fill absent keys in with null"
    RESULT_WITHOUT_CALL = "a tool's result without its call"
    NOT_TEXT = "not text"
    MEDIA = "images, sounds or files, which are not read"
    SYSTEM_TWICE = "two system messages that differ, one beside the messages and one in them"
    PREFERENCE = "answers to choose between, none of which was given"
    NO_COLUMN = "no text in a column that the template names"
    TOO_LONG = "too long"
    WEIGHT_ZERO = "marked with weight 0"
    OTHER_MODEL = "another model"
    NOT_PLANNED = "resembling a held-out prompt, or beyond prompts.limit"


@dataclass(frozen=True, slots=True)
class Ask:
    """What was asked: messages that end with the user's or with a tool's result, and how the
    answer was to be drawn.

    `tools` is JSON text. `sampling` has temperature, top_p, top_k, max_tokens and seed,
    None where the request does not say.
    """

    messages: tuple[Message, ...]
    sampling: Mapping[str, float | int | None]
    tools: str | None = None

    @property
    def turns(self) -> Turns:
        """What the model was shown."""
        return Turns(self.messages, self.tools)


@dataclass(frozen=True, slots=True)
class LoggedAnswer:
    """What came back: text, calls of tools (JSON text), or both.

    `finish_reason` is as logged; None where the log does not say.
    """

    response: str
    reasoning: str | None = None
    tool_calls: str | None = None
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class CallFacts:
    """What a log says of a call beside its text; None or empty where it does not.

    `latency_s` is in seconds, `created_at` ISO 8601 in UTC, `spend` in the log's currency.
    """

    model: str | None = None
    provider: str | None = None
    returned_model: str | None = None
    system_fingerprint: str | None = None
    usage: Mapping[str, int] = field(default_factory=dict)
    created_at: str | None = None
    latency_s: float | None = None
    spend: float | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a log: what was asked, what came back, and what else is known.

    `answers` is never empty: a row without an answer holds the reason. `detail` names the field
    that is not as it should be, where the reason alone would leave it to be looked for. `row_id` is
    the log's own name of the row: a row that comes twice was paid for once.
    """

    ask: Ask | Reason
    answers: tuple[LoggedAnswer | Reason, ...]
    facts: CallFacts = CallFacts()
    detail: str | None = None
    row_id: str | None = None


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """A line of a batch's input: what it asks, and of which model."""

    ask: Ask | Reason
    model: str | None


@dataclass(frozen=True, slots=True)
class LoggedCall:
    """One answered request, and the file that it is from (its name alone)."""

    ask: Ask
    answer: LoggedAnswer
    facts: CallFacts
    file: str

    @property
    def teacher(self) -> str:
        """Who answered, as the log says: provider (or `calls`) and model (or `unknown`)."""
        model = self.facts.model or "unknown"
        provider = self.facts.provider or "calls"
        return model if model.startswith(f"{provider}/") else f"{provider}/{model}"
