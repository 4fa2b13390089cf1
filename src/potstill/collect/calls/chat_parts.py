"""The parts of an OpenAI-style call: messages, a request's body, a completion's choices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from potstill.collect.calls.call import Answer, Ask, Messages, Reason
from potstill.collect.calls.values import as_dict, is_text, json_text, sampling_of
from potstill.exchanges.exchange import Message

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_TEXT_PARTS = ("text", "input_text", "output_text")
# What LiteLLM's proxy writes in place of text, and into the middle of text that it shortens.
_REDACTED = "redacted-by-litellm"
_CUT = re.compile(r"\(litellm_truncated skipped \d+ chars")
_THINKING = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
_FILTERED = ("content_filter", "safety")


def prompt_of(value: Any) -> Messages | Reason:
    """Return what was asked, from a list of messages; the last one is the user's."""
    if not isinstance(value, list | tuple) or not value:
        return Reason.NO_PROMPT
    messages: list[Message] = []
    for item in value:
        message = _prompt_message(item)
        if isinstance(message, Reason):
            return message
        messages.append(message)
    if messages[-1]["role"] != "user":
        return Reason.OPEN_PROMPT
    return tuple(messages) if messages[-1]["content"] else Reason.NO_PROMPT


def prompt_of_text(text: str) -> Messages | Reason:
    """Return one user's message of a text."""
    return prompt_of([{"role": "user", "content": text}])


def ask_of(request: Mapping[str, Any], messages: Any = None) -> Ask | Reason:
    """Return what a request's body asks; `messages`, where given, stand for its own."""
    prompt = prompt_of(request.get("messages") if messages is None else messages)
    if isinstance(prompt, Reason):
        return prompt
    given = request.get("tools") or request.get("functions")
    tools = json_text(given)
    if given and tools is None:
        return Reason.NOT_TEXT
    return Ask(prompt, sampling_of(request), tools)


def answers_of(completion: Mapping[str, Any]) -> tuple[Answer | Reason, ...]:
    """Return the answers in a chat completion's body, one for each choice."""
    if completion.get("error"):
        return (Reason.ERROR,)
    choices = completion.get("choices")
    if not isinstance(choices, list | tuple) or not choices:
        return (Reason.NO_RESPONSE,)
    return tuple(_choice(choice) for choice in choices)


def answer_of_message(message: Mapping[str, Any], finish_reason: Any = None) -> Answer | Reason:
    """Return the answer that an assistant's message is."""
    finish = finish_reason if isinstance(finish_reason, str) else None
    if finish in _FILTERED:
        return Reason.FILTERED
    calls = message.get("tool_calls") or message.get("function_call")
    text = _text(message.get("content"))
    if text is None:
        return Reason.NOT_TEXT
    if not text.strip() and calls:
        return Reason.TOOL_ONLY
    if not text.strip() and message.get("refusal"):
        return Reason.REFUSED
    tool_calls = json_text(calls)
    if calls and tool_calls is None:
        return Reason.NOT_TEXT
    reasoning = next(
        (m for key in ("reasoning_content", "reasoning") if isinstance(m := message.get(key), str)),
        None,
    )
    return answer_of_text(text, reasoning=reasoning, tool_calls=tool_calls, finish_reason=finish)


def answer_of_text(
    text: str,
    *,
    reasoning: str | None = None,
    tool_calls: str | None = None,
    finish_reason: str | None = None,
) -> Answer | Reason:
    """Return the answer that a text is; a leading `<think>` block is kept apart as reasoning.

    One that is not closed was cut off before there was an answer.
    """
    thought = _THINKING.match(text)
    if thought is not None:
        text = text[thought.end() :]
        reasoning = reasoning or thought[1].strip()
    if not text.strip() or text.lstrip().startswith("<think>"):
        return Reason.NO_RESPONSE
    unusable = _unusable(text) or _unusable(reasoning or "")
    if unusable is not None:
        return unusable
    return Answer(text, reasoning or None, tool_calls, finish_reason)


def _choice(choice: Any) -> Answer | Reason:
    if not isinstance(choice, dict):
        return Reason.NO_RESPONSE
    message = choice.get("message")
    if not isinstance(message, dict):
        return Reason.NO_RESPONSE
    return answer_of_message(message, choice.get("finish_reason"))


def _prompt_message(item: Any) -> Message | Reason:
    message = as_dict(item)
    stated = message.get("role")
    if stated in ("tool", "function") or message.get("tool_calls") or message.get("function_call"):
        return Reason.TOOLS_IN_PROMPT
    role = _ROLES.get(stated) if isinstance(stated, str) else None
    if role is None:
        return Reason.NO_PROMPT
    text = _text(message.get("content"))
    if text is None:
        return Reason.NOT_TEXT
    return _unusable(text) or {"role": role, "content": text.strip()}


def _text(content: Any) -> str | None:
    """Return content as text: blank where there is none, None where it is not only text."""
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, Sequence):
        return None
    texts = [p.get("text") for p in content if isinstance(p, dict) and p.get("type") in _TEXT_PARTS]
    if len(texts) != len(content) or not all(isinstance(t, str) for t in texts):
        return None
    return "".join(str(t) for t in texts)


def _unusable(text: str) -> Reason | None:
    if not is_text(text):
        return Reason.NOT_TEXT
    if text.strip() == _REDACTED:
        return Reason.REDACTED
    return Reason.CUT if _CUT.search(text) else None
