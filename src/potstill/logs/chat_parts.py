"""The parts of an OpenAI-style call: messages, a request's body, a completion's choices."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from potstill.exchanges.exchange import Message
from potstill.logs.call import Answer, Ask, Messages, Reason
from potstill.logs.tally import finish_word
from potstill.logs.values import as_dict, is_text, sampling_of
from potstill.text.tool_calls import (
    Call,
    Flaw,
    calls_in,
    results_have_calls,
    spelled,
    strings_in,
    tools_in,
)

_ROLES = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
_TEXT_PARTS = ("text", "input_text", "output_text")
# What LiteLLM's proxy writes in place of text, and into the middle of text that it shortens.
_REDACTED = "redacted-by-litellm"
_CUT = re.compile(r"\(litellm_truncated skipped \d+ chars")
_THINKING = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
_FILTERED = ("content_filter", "safety")
_RESULTS = ("tool", "function")
_FLAWS = {
    Flaw.KIND: Reason.TOOL_KIND,
    Flaw.NAME: Reason.CALL_NAME,
    Flaw.ARGUMENTS: Reason.CALL_ARGUMENTS,
    Flaw.TOOLS: Reason.TOOLS_UNREADABLE,
    Flaw.TEXT: Reason.NOT_TEXT,
}


def prompt_of(value: Any) -> Messages | Reason:
    """Return what was asked, from a list of messages; the last is the user's or a tool's result."""
    if not isinstance(value, list | tuple) or not value:
        return Reason.NO_PROMPT
    messages: list[Message] = []
    for item in value:
        message = _prompt_message(item)
        if isinstance(message, Reason):
            return message
        messages.append(message)
    if not results_have_calls(messages):
        return Reason.RESULT_WITHOUT_CALL
    if messages[-1]["role"] not in ("user", "tool"):
        return Reason.OPEN_PROMPT
    asks = messages[-1]["content"] or messages[-1]["role"] == "tool"
    return tuple(messages) if asks else Reason.NO_PROMPT


def ask_of(request: Mapping[str, Any], messages: Any = None) -> Ask | Reason:
    """Return what a request's body asks; `messages`, where given, stand for its own."""
    prompt = prompt_of(request.get("messages") if messages is None else messages)
    if isinstance(prompt, Reason):
        return prompt
    given = request.get("tools") or request.get("functions")
    unusable = _unusable(*strings_in(given))
    if unusable is not None:
        return unusable
    tools = tools_in(given)
    if isinstance(tools, Flaw):
        return _FLAWS[tools]
    return Ask(prompt, sampling_of(request), spelled(tools))


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
    calls = _calls(message)
    text = _text(message.get("content"))
    if isinstance(calls, Reason) or text is None:
        return calls if isinstance(calls, Reason) else Reason.NOT_TEXT
    if finish_word(finish) == "tool_calls" and not calls:
        return Reason.CALL_NOT_STORED
    if not text.strip() and not calls and message.get("refusal"):
        return Reason.REFUSED
    reasoning = _reasoning(message)
    called = spelled(calls)
    return answer_of_text(text, reasoning=reasoning, tool_calls=called, finish_reason=finish)


def answer_of_text(
    text: str,
    *,
    reasoning: str | None = None,
    tool_calls: str | None = None,
    finish_reason: str | None = None,
) -> Answer | Reason:
    """Return the answer that a text is; a leading `<think>` block is kept apart as reasoning.

    One that is not closed was cut off before there was an answer. With calls of tools there need
    be no text.
    """
    thought = _THINKING.match(text)
    if thought is not None:
        text = text[thought.end() :]
        reasoning = reasoning or thought[1].strip()
    if not (text.strip() or tool_calls) or text.lstrip().startswith("<think>"):
        return Reason.NO_RESPONSE
    unusable = _unusable(text, reasoning or "")
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
    if stated in _RESULTS:
        return _result(message)
    role = _ROLES.get(stated) if isinstance(stated, str) else None
    if role is None:
        return Reason.NO_PROMPT
    text = _text(message.get("content"))
    if text is None:
        return Reason.NOT_TEXT
    found: Message = {"role": role, "content": text.strip()}
    if role == "assistant" and message.get("weight") == 0:
        found["weight"] = 0  # its words are no example: train.turns passes them over
    calls = _calls(message) if role == "assistant" else []
    if isinstance(calls, Reason):
        return calls
    thought = _reasoning(message) if role == "assistant" else None
    if thought:
        found["reasoning_content"] = thought
    return _unusable(text, thought or "") or (found | {"tool_calls": calls} if calls else found)


def _reasoning(message: Mapping[str, Any]) -> str | None:
    """Return the reasoning that a message holds in a field of its own."""
    keys = ("reasoning_content", "reasoning")
    return next((m for key in keys if isinstance(m := message.get(key), str)), None)


def _result(message: Mapping[str, Any]) -> Message | Reason:
    """Return a tool's result, its content as it was logged."""
    text = _text(message.get("content"))
    if text is None:
        return Reason.NOT_TEXT
    named = {key: message.get(key) for key in ("tool_call_id", "name")}
    found = {key: value for key, value in named.items() if isinstance(value, str) and value}
    return _unusable(text, *found.values()) or {"role": "tool", "content": text, **found}


def _calls(message: Mapping[str, Any]) -> list[Call] | Reason:
    """Return the calls that an assistant's message holds."""
    given = message.get("tool_calls") or message.get("function_call")
    unusable = _unusable(*strings_in(given))
    if unusable is not None:
        return unusable
    calls = calls_in(given)
    return _FLAWS[calls] if isinstance(calls, Flaw) else calls


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


def _unusable(*texts: str) -> Reason | None:
    for text in texts:
        if not is_text(text):
            return Reason.NOT_TEXT
        if text.strip() == _REDACTED:
            return Reason.REDACTED
        if _CUT.search(text):
            return Reason.CUT
    return None
