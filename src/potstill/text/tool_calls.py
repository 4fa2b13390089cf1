"""Tools, and the calls of them, in one form: OpenAI's, with arguments as a JSON object.

Logs, files and servers write them in several ways: arguments as JSON text or as an object, the
older `function_call` and `functions`, definitions with and without a wrapping. Every reader goes
through here, so that what is stored has one spelling.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any

from potstill.canonical import canonical_text, parsed
from potstill.text.forms import is_text

Call = dict[str, Any]
"""`{"id"?, "type": "function", "function": {"name", "arguments"}}`."""
Tool = dict[str, Any]
"""`{"type": "function", "function": {"name", ...}}`."""


# What a call or a definition holds under keys of its own choice (Anthropic's too).
_OPEN_KEYS = ("arguments", "parameters", "input_schema")


class Flaw(StrEnum):
    """Why calls or tools cannot be used."""

    KIND = "a kind of tool that is no function"
    NAME = "a tool call that names no function"
    ARGUMENTS = "a tool call whose arguments are no JSON object"
    TOOLS = "tools that cannot be read"
    TEXT = "not text"


def calls_in(value: Any, *, keep_text: bool = False) -> list[Call] | Flaw:
    """Return the calls that a message's `tool_calls` (or older `function_call`) holds.

    Blank or missing arguments are those of a call without any. Arguments that are no JSON object
    are a flaw, or with `keep_text` kept as the text that they are.
    """
    found = _structured(value)
    if not found:
        return []
    if isinstance(found, Mapping):
        found = [found]
    if not isinstance(found, list | tuple):
        return Flaw.NAME
    calls: list[Call] = []
    for item in found:
        call = _call(item, keep_text)
        if isinstance(call, Flaw):
            return call
        calls.append(call)
    return calls


def tools_in(value: Any) -> list[Tool] | Flaw:
    """Return the tools that a request offers, from `tools` or the older `functions`.

    A function's definition may stand alone, or beside its `type`, instead of under `function`.
    """
    found = _structured(value)
    if not found:
        return []
    if not isinstance(found, list | tuple):
        return Flaw.TOOLS
    tools: list[Tool] = []
    for item in found:
        tool = _tool(item)
        if isinstance(tool, Flaw):
            return tool
        tools.append(tool)
    return tools


def spelled(value: Sequence[Mapping[str, Any]] | None) -> str | None:
    """Return calls or tools as JSON text, None where there are none.

    Keys stay in the order they were written in: templates write them in that order, so it is part
    of what a model is shown and learns.
    """
    return json.dumps(list(value), separators=(",", ":"), ensure_ascii=False) if value else None


def broken(calls: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether some call's arguments are text that is no JSON object."""
    return any(not isinstance(_function(call).get("arguments"), Mapping) for call in calls)


def bare(calls: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what calls ask for, `{"name", "arguments"}`, without the ids that vary by the draw."""
    return [{key: _function(call).get(key) for key in ("name", "arguments")} for call in calls]


def calls_text(calls: Sequence[Mapping[str, Any]]) -> str:
    """Return calls as text to read, compare and count: one JSON object a line, without ids, keys
    in order."""
    return "\n".join(canonical_text(call) for call in bare(calls))


def with_calls(text: str, calls: Sequence[Mapping[str, Any]]) -> str:
    """Return a text and, on lines of their own, the calls that come with it."""
    return "\n".join(part for part in (text, calls_text(calls)) if part)


def message_text(message: Mapping[str, Any]) -> str:
    """Return all that a message says: its content and its calls."""
    calls = message.get("tool_calls")
    return with_calls(
        str(message.get("content") or ""), calls if isinstance(calls, list | tuple) else ()
    )


def may_be_filled_in(value: Any) -> bool:
    """Tell whether calls or tools in a value hold nulls that a table may have filled in.

    Structs of one column share their keys, so that in Parquet every call has the arguments of all
    others, null where it had none: which were meant cannot be told.
    """
    left = [(value, False)]
    while left:
        one, inside = left.pop()
        if one is None and inside:
            return True
        if isinstance(one, Mapping):
            # With a name it is a call, or a definition: others may have parameters, too.
            keys = _OPEN_KEYS if "name" in one else ()
            if one.get("type") == "tool_use":
                keys = (*keys, "input")
            left += [(v, inside or (k in keys and v is not None)) for k, v in one.items()]
        elif isinstance(one, list | tuple):
            left += [(v, inside) for v in one]
    return False


def results_have_calls(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether every tool's result follows the assistant's message that calls it."""
    open_ids: set[str | None] | None = None
    for message in messages:
        if message["role"] == "tool":
            named = message.get("tool_call_id")
            if open_ids is None or (named and None not in open_ids and named not in open_ids):
                return False
        else:
            calls = message.get("tool_calls")
            open_ids = {call.get("id") for call in calls} if calls else None
    return True


def strings_in(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value, however deep, keys too; in no particular order."""
    left = [value]
    while left:
        one = left.pop()
        if isinstance(one, str):
            yield one
        elif isinstance(one, Mapping):
            left += [*map(str, one), *one.values()]
        elif isinstance(one, list | tuple):
            left += one


def _call(item: Any, keep_text: bool) -> Call | Flaw:
    item = _structured(item)
    if not isinstance(item, Mapping):
        return Flaw.NAME
    if item.get("type") not in (None, "function"):
        return Flaw.KIND
    function = item.get("function") if "function" in item else item
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name, str) or not name.strip():
        return Flaw.NAME
    raw = function.get("arguments")
    arguments: dict[str, Any] | str | None = _arguments(raw)
    if arguments is None:
        if not keep_text:
            return Flaw.ARGUMENTS
        arguments = raw if isinstance(raw, str) else json.dumps(raw, default=str)
    given = item.get("id")
    call: Call = {"id": given} if isinstance(given, str) and given else {}
    call |= {"type": "function", "function": {"name": name, "arguments": arguments}}
    return call if is_text(_strings(call)) else Flaw.TEXT


def _arguments(raw: Any) -> dict[str, Any] | None:
    """Return arguments as an object; None where they are none."""
    if raw is None or (isinstance(raw, str) and not raw.strip()):
        return {}
    try:
        found = parsed(raw) if isinstance(raw, str) else raw
        canonical_text(found)
    except (ValueError, TypeError, RecursionError):
        return None
    return dict(found) if isinstance(found, Mapping) else None


def _tool(item: Any) -> Tool | Flaw:
    item = _structured(item)
    if not isinstance(item, Mapping):
        return Flaw.TOOLS
    if "input_schema" in item and item.get("type") in (None, "custom"):  # as Anthropic writes it
        kept = {key: item[key] for key in ("name", "description") if key in item}
        item = {**kept, "parameters": item["input_schema"]}
    if item.get("type") not in (None, "function"):
        return Flaw.KIND
    if "function" in item:
        function, tool = item["function"], {**item, "type": "function"}
    else:
        function = {key: value for key, value in item.items() if key != "type"}
        tool = {"type": "function", "function": function}
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str) or not name.strip():
        return Flaw.TOOLS
    try:
        canonical_text(tool)
    except (ValueError, TypeError, RecursionError):
        return Flaw.TOOLS
    return tool if is_text(_strings(tool)) else Flaw.TEXT


def _function(call: Mapping[str, Any]) -> Mapping[str, Any]:
    function = call.get("function") if isinstance(call, Mapping) else None
    return function if isinstance(function, Mapping) else {}


def _structured(value: Any) -> Any:
    """Return the value of JSON text, and anything else (text that is none, too) as it is."""
    if isinstance(value, str):
        try:
            return parsed(value)
        except ValueError:
            return value.strip()
    return value


def _strings(value: Any) -> str:
    return "\n".join(strings_in(value))
