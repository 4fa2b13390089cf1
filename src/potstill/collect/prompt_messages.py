"""One cell of a prompt source as messages, or as tools: with the row's place in every complaint."""

from __future__ import annotations

from typing import Any

from potstill.errors import PotstillError
from potstill.exchanges.exchange import Message
from potstill.text.tool_calls import Call, Flaw, calls_in, results_have_calls, spelled, tools_in

_ROLES = ("system", "user", "assistant", "tool")


def user_message(text: str, place: str) -> Message:
    """Return a user's message of a text. Raises PotstillError where it is no text."""
    return {"role": "user", "content": _text(text, place).strip()}


def messages_of(value: Any, column: str, place: str) -> tuple[Message, ...]:
    """Return what a cell says, as messages; None is a blank prompt.

    Raises PotstillError where it is no prompt: it ends with the user's message or a tool's result.
    """
    if value is None or isinstance(value, str):
        return (user_message(value or "", place),)
    if not isinstance(value, list):
        raise PotstillError(
            f"{place}: the column {column} holds {type(value).__name__}, where text or a list "
            "of messages is needed"
        )
    messages = [_message(item, column, place) for item in value]
    while messages and messages[-1]["role"] == "assistant":
        messages.pop()
    if not messages:
        return (user_message("", place),)
    if messages[-1]["role"] not in ("user", "tool"):
        raise PotstillError(
            f"{place}: the messages in {column} do not end with one of the user or of a tool"
        )
    if not results_have_calls(messages):
        raise PotstillError(
            f"{place}: the messages in {column} hold a tool's result that follows no call of it; "
            "put the assistant's message with its tool_calls before it, or remove the row"
        )
    return tuple(messages)


def tools_of(value: Any, column: str, place: str, *, must_be: bool) -> str | None:
    """Return the tools that a cell offers, as JSON text; None where it offers none.

    Raises PotstillError where they `must_be` tools and cannot be read.
    """
    tools = tools_in(value)
    if not isinstance(tools, Flaw):
        return spelled(tools)
    if not must_be:
        return None
    raise PotstillError(
        f"{place}: the column {column} holds {tools}; write them as in a chat request, "
        '[{"type": "function", "function": {"name": ...}}], or rename the column'
    )


def _message(item: Any, column: str, place: str) -> Message:
    given = item if isinstance(item, dict) else {}
    role, content = given.get("role"), given.get("content")
    if role == "function":
        role = "tool"
    calls = _calls(given, column, place) if role == "assistant" else []
    if isinstance(content, list) and all(isinstance(part, dict) for part in content):
        texts = [part.get("text") for part in content if part.get("type") == "text"]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            content = "".join(texts)
    if content is None and calls:
        content = ""
    if role not in _ROLES or not isinstance(content, str):
        raise PotstillError(
            f"{place}: the column {column} has a message without a role ({', '.join(_ROLES)}) "
            "and text content"
        )
    text = _text(content, place)
    if role == "tool":
        named = {key: given.get(key) for key in ("tool_call_id", "name")}
        found = {k: _text(v, place) for k, v in named.items() if isinstance(v, str) and v}
        return {"role": role, "content": text, **found}
    message: Message = {"role": role, "content": text.strip()}
    if role == "assistant" and given.get("weight") == 0:
        message["weight"] = 0  # its words are no example: train.turns passes them over
    return message | {"tool_calls": calls} if calls else message


def _calls(message: dict[str, Any], column: str, place: str) -> list[Call]:
    calls = calls_in(message.get("tool_calls") or message.get("function_call"))
    if isinstance(calls, Flaw):
        raise PotstillError(
            f"{place}: the column {column} has {calls}; correct it, or remove the row"
        )
    return calls


def _text(text: str, place: str) -> str:
    """Return the text; half a surrogate pair is an error."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PotstillError(
            f"{place}, holds half a surrogate pair (\\ud800 to \\udfff), which is no text; "
            "remove the escape or the row"
        ) from None
    return text
