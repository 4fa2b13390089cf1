"""OpenAI's Responses: a list of items for what was asked and one for what came back.

Items become the messages that all else is read from. What an item points to and does not hold
(an earlier response, a stored conversation or prompt) leaves the whole call out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from potstill.logs.call import Reason
from potstill.logs.content import other_than_text
from potstill.logs.turns import text_of

# What a request may name instead of saying it.
_ELSEWHERE = ("previous_response_id", "conversation", "prompt")
_NOT_HELD = ("item_reference", "compaction")


def is_request(request: Mapping[str, Any]) -> bool:
    """Tell whether a request's body asks by `input`."""
    return "messages" not in request and isinstance(request.get("input"), str | list | tuple)


def is_response(response: Mapping[str, Any]) -> bool:
    """Tell whether a response's body answers by `output` items."""
    return response.get("object") == "response" or isinstance(response.get("output"), list | tuple)


def chat_of(request: Mapping[str, Any]) -> dict[str, Any] | Reason:
    """Return what a request asks, with `messages` in place of `input` and `instructions`."""
    if any(request.get(name) for name in _ELSEWHERE):
        return Reason.NOT_STORED
    asked = request.get("input")
    items = [{"role": "user", "content": asked}] if isinstance(asked, str) else asked
    stated = request.get("instructions")
    told = [{"role": "system", "content": stated}] if isinstance(stated, str) else stated
    if not isinstance(items, list | tuple) or not isinstance(told or [], list | tuple):
        return Reason.NO_PROMPT
    messages = _messages([*(told or []), *items])
    if isinstance(messages, Reason):
        return messages
    return {**request, "messages": messages}


def answer_in(response: Mapping[str, Any]) -> tuple[dict[str, Any] | Reason, Any]:
    """Return the assistant's message that a response is, and what it states of its end."""
    stated = response.get("incomplete_details") or response.get("status")
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    items = response.get("output")
    for item in items if isinstance(items, list | tuple) else ():
        wrong = _add(message, item)
        if wrong is not None:
            return wrong, stated
    return message, stated


def _messages(items: list[Any]) -> list[dict[str, Any]] | Reason:
    messages: list[dict[str, Any]] = []
    mine: dict[str, Any] | None = None  # the assistant's turn that items are added to
    for item in items:
        kind = _kind(item)
        if kind == "function_call_output":
            mine = None
            found = {"role": "tool", "content": item.get("output")}
            messages.append({**found, "tool_call_id": item.get("call_id")})
        elif kind == "message" and item.get("role") != "assistant":
            mine = None
            messages.append({key: item.get(key) for key in ("role", "content")})
        else:
            if mine is None or (kind == "message" and (mine["content"] or "tool_calls" in mine)):
                mine = {"role": "assistant", "content": ""}
                messages.append(mine)
            wrong = _add(mine, item)
            if wrong is not None:
                return wrong
    return messages


def _add(message: dict[str, Any], item: Any) -> Reason | None:
    """Add one item to an assistant's message; return why it cannot be."""
    kind = _kind(item)
    if kind == "message":
        content = item.get("content")
        beside, text = other_than_text(content), text_of(content, "content")
        if beside is not None or not isinstance(text, str):
            return beside or Reason.NOT_TEXT
        message["content"] += text
    elif kind == "function_call":
        function = {key: item.get(key) for key in ("name", "arguments")}
        call = {"id": item.get("call_id"), "type": "function", "function": function}
        message.setdefault("tool_calls", []).append(call)
    elif kind == "reasoning":
        # A summary of reasoning is not what the model thought, and is not learnt as that.
        thought = _reasoning(item.get("content"))
        if thought:
            message["reasoning_content"] = message.get("reasoning_content", "") + thought
    elif kind in _NOT_HELD:
        return Reason.NOT_STORED
    elif kind.endswith(("_call", "_call_output", "_list_tools")) or kind.startswith("mcp_"):
        return Reason.TOOL_KIND
    else:
        return Reason.NOT_TEXT
    return None


def _kind(item: Any) -> str:
    """Return an item's type; a message may leave it out."""
    if not isinstance(item, Mapping):
        return ""
    kind = item.get("type") or ("message" if "role" in item else "")
    return kind if isinstance(kind, str) else ""


def _reasoning(parts: Any) -> str:
    found = [p.get("text") for p in parts or () if isinstance(p, Mapping)]
    return "".join(text for text in found if isinstance(text, str))
