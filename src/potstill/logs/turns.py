"""Turns of a conversation, whoever speaks in whatever words, and their text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from potstill.text.tool_calls import Flaw, calls_in

Form = Literal["text", "chat", "sharegpt", "alpaca"]
Trouble = Literal["form", "speaker", "content", "text", "calls", "system", "preference", "order"]

# Who speaks, in the words of every form.
SPEAKERS = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "ai": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "bard": "assistant",
    "bing": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "function_response": "tool",
    "observation": "tool",
}
_CALLER = "function_call"  # what it says is a call of a tool, as JSON
TEXT_PARTS = ("text", "input_text", "output_text")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,29}")


@dataclass(frozen=True, slots=True)
class Unfit:
    """Why a value is no conversation: `field` says where, and `problem` goes on after it.

    `flaw` is what is wrong with the calls of a message, where the trouble is `calls`.
    """

    field: str
    problem: str
    trouble: Trouble
    flaw: Flaw | None = None

    def __str__(self) -> str:
        return f"{self.field} {self.problem}"


@dataclass(frozen=True, slots=True)
class Chat:
    """Every turn of a conversation, answers included, as OpenAI writes messages.

    A turn's `role` is one of system, user, assistant and tool; the rest is as it stands in the
    row, not checked yet. `fields` says where the text of each turn stands. `tools` is what the
    object around the messages offers, where a cell holds one.
    """

    turns: tuple[dict[str, Any], ...]
    fields: tuple[str, ...]
    form: Form
    tools: Any = None


def turns_of(items: Sequence[Any], field: str) -> Chat | Unfit:
    """Return the turns of a list of messages, in OpenAI's form or in ShareGPT's."""
    turns, fields = [], []
    form: Form = "chat"
    for number, item in enumerate(items):
        at = f"{field}[{number}]"
        if not isinstance(item, Mapping):
            return Unfit(at, "is no message with a role and content", "form")
        given = {key: value for key, value in item.items() if value is not None}
        speaker = given.get("role", given.get("from"))
        named = "role" if "role" in given else "from"
        if named == "from" and "from" in given:
            form = "sharegpt"
        if speaker is None:
            return Unfit(at, "is a message without a role", "speaker")
        known = speaker.strip().lower().replace("-", "_") if isinstance(speaker, str) else ""
        role = SPEAKERS.get(known)
        if role is None:
            shown = f"is {speaker}, which" if is_name(speaker) else "holds what"
            return Unfit(
                f"{at}.{named}", f"{shown} is none of {', '.join(SPEAKERS)}; rename it", "speaker"
            )
        turn = {k: v for k, v in given.items() if k not in ("from", "value")} | {"role": role}
        said = "value" if "value" in given and "content" not in given else "content"
        if said in given:
            turn["content"] = given[said]
        if known == _CALLER and not turn.get("tool_calls"):
            calls = calls_in(turn.pop("content", None)) or Flaw.NAME
            if isinstance(calls, Flaw):
                return Unfit(at, f"has {calls}; correct it", "speaker", calls)
            turn["tool_calls"] = calls
        turns.append(turn)
        fields.append(f"{at}.{said}")
    return Chat(tuple(turns), tuple(fields), form)


def text_of(content: Any, field: str) -> str | Unfit:
    """Return content as text: as it is, or its parts of text joined."""
    if isinstance(content, list | tuple):
        parts = []
        for number, part in enumerate(content):
            text = _part(part, f"{field}[{number}]")
            if isinstance(text, Unfit):
                return text
            parts.append(text)
        content = "".join(parts)
    if not isinstance(content, str):
        return Unfit(field, f"holds {type(content).__name__}, where text is needed", "content")
    try:
        content.encode()
    except UnicodeEncodeError:
        return Unfit(
            field,
            "holds half a surrogate pair (\\ud800 to \\udfff), which is no text; remove the "
            "escape or the row",
            "text",
        )
    return content


def _part(part: Any, field: str) -> str | Unfit:
    kind = part.get("type", "text") if isinstance(part, Mapping) else None
    if kind not in TEXT_PARTS:
        shown = f"is of the type {kind}" if is_name(kind) else "is no part of text"
        return Unfit(
            field,
            f"{shown}; only text can be asked and learned, so remove the part or the row",
            "content",
        )
    text = part.get("text")
    if not isinstance(text, str):
        return Unfit(f"{field}.text", "is no text", "content")
    return text


def is_name(value: Any) -> bool:
    """Tell whether a value may be shown as a name: short, and of a name's letters."""
    return isinstance(value, str) and _NAME.fullmatch(value) is not None
