"""Anthropic's Messages: turns made of blocks, as the messages that all else is read from.

What differs from an OpenAI-style chat is the place of things: reasoning and calls are blocks of
an assistant's content, tools' results are blocks of a user's, the system message stands beside
the messages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from potstill.logs.call import Reason
from potstill.logs.content import kinds_in

_OWN = {"thinking", "redacted_thinking", "tool_use", "tool_result"}


def is_message(response: Mapping[str, Any]) -> bool:
    """Tell whether a response's body is an answered Message."""
    return response.get("type") == "message" or (
        response.get("role") == "assistant" and "stop_reason" in response
    )


def turns_of(message: Mapping[str, Any]) -> list[dict[str, Any]] | Reason:
    """Return the messages that one turn is: itself, where it holds none of these blocks.

    Reasoning that came encrypted (`redacted_thinking`) is none that could be learnt. A block of a
    tool that the service ran itself makes the turn one that cannot be learnt.
    """
    content = message.get("content")
    kinds = kinds_in(content)
    if any(_ran_elsewhere(kind) for kind in kinds):
        return Reason.TOOL_KIND
    if not kinds & _OWN:
        return [dict(message)]
    if message.get("role") == "assistant":
        return [{**message, **_said(content)}]
    return _user_turns(message, content)


def _ran_elsewhere(kind: str) -> bool:
    """Tell whether a block is of a tool that the service ran (search, code, MCP servers)."""
    return kind not in _OWN and kind.endswith(("_tool_use", "_tool_result"))


def _said(blocks: Any) -> dict[str, Any]:
    """Return an assistant's blocks as content, reasoning and calls."""
    thoughts = [b["thinking"] for b in blocks if _is(b, "thinking") and b.get("thinking")]
    calls = [
        {
            "id": block.get("id"),
            "type": "function",
            "function": {"name": block.get("name"), "arguments": block.get("input")},
        }
        for block in blocks
        if _is(block, "tool_use")
    ]
    rest = [b for b in blocks if not (isinstance(b, Mapping) and b.get("type") in _OWN)]
    found: dict[str, Any] = {"content": rest, "tool_calls": calls}
    if thoughts and all(isinstance(thought, str) for thought in thoughts):
        found["reasoning_content"] = "\n".join(thoughts)
    return found


def _user_turns(message: Mapping[str, Any], blocks: Any) -> list[dict[str, Any]]:
    """Return a user's blocks: each tool's result a message of its own, the rest in between."""
    turns: list[dict[str, Any]] = []
    for block in blocks:
        if _is(block, "tool_result"):
            named = block.get("tool_use_id")
            turns.append({"role": "tool", "tool_call_id": named, "content": block.get("content")})
        elif turns and turns[-1]["role"] != "tool":
            turns[-1]["content"].append(block)
        else:
            turns.append({**message, "content": [block]})
    return turns


def _is(block: Any, kind: str) -> bool:
    return isinstance(block, Mapping) and block.get("type") == kind
