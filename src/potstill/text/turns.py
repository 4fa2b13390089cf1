"""What a model is shown: messages and tools, and the id that names them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from potstill.canonical import digest_of
from potstill.text.tool_calls import Tool

Message = dict[str, Any]
"""`role` and `content`, both text. An assistant's may have `tool_calls` (as `Call`), a tool's
result has the role `tool` and may have `tool_call_id` and `name`."""


@dataclass(frozen=True)
class Turns:
    """What a model is shown: messages, and the tools on offer as JSON text, if any."""

    messages: tuple[Message, ...]
    tools: str | None = None


def tool_list(tools: str | None) -> list[Tool] | None:
    """Return the tools that JSON text holds."""
    return None if tools is None else list(json.loads(tools))


def prompt_id_of(messages: tuple[Message, ...], tools: str | None = None) -> str:
    """Return the digest (32 hexadecimal digits) that names a prompt, with its tools if any.

    The order of keys in tools and arguments does not change it.
    """
    asked: Any = list(messages)
    if tools is not None:
        asked = {"messages": asked, "tools": json.loads(tools)}
    return digest_of(asked)
