"""Messages as the chat-completions format wants them in a request."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

# What only training reads of a message: a server is sent none of it.
_OWN = ("weight", "reasoning_content")


def body_messages(messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return messages for a request's body: arguments as JSON text, every call with an id.

    The format demands that a result names its call. Where a log has left ids out, calls are
    numbered through the conversation, and results take them in the order of the calls.
    """
    found: list[dict[str, Any]] = []
    open_ids: list[str] = []
    number = 0
    for message in messages:
        one = {key: value for key, value in message.items() if key not in _OWN}
        if one.get("tool_calls"):
            calls = []
            for call in one["tool_calls"]:
                calls.append({"id": f"call_{number}", **call, "function": _function(call)})
                number += 1
            one["tool_calls"] = calls
            open_ids = [call["id"] for call in calls]
        elif one["role"] == "tool":
            named = one.setdefault("tool_call_id", open_ids[0] if open_ids else f"call_{number}")
            open_ids = [key for key in open_ids if key != named]
        found.append(one)
    return found


def _function(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call["function"])
    arguments = function["arguments"]
    if not isinstance(arguments, str):
        function["arguments"] = json.dumps(arguments, ensure_ascii=False)
    return function
