"""Reasoning that a model writes before its answer: told apart, counted, left out.

Models write it between tags of their own (`<think>` ... `</think>`). Some chat templates open the
tag in the prompt, so that a response may hold the closing tag alone. Servers that know their model
hand the reasoning over in a field of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

_TAGS = ("think", "thinking", "thought", "reasoning")
_OPENING = re.compile(rf"\s*<({'|'.join(_TAGS)})>")
_CLOSING = re.compile(rf"</({'|'.join(_TAGS)})>")


class HasResponse(Protocol):
    """What was answered: an exchange, or anything else with these two."""

    @property
    def response(self) -> str:
        """The text, which may begin with reasoning between tags."""

    @property
    def reasoning(self) -> str | None:
        """Reasoning that came in a field of its own."""


@dataclass(frozen=True)
class Trace:
    """A response in its two parts, without tags and outer white space.

    `closed_at` is the offset in the response, in characters, behind the closing tag: 0 where
    there is no trace, the whole length where it was never closed.
    """

    reasoning: str
    answer: str
    closed_at: int


def split_trace(response: str) -> Trace:
    """Return a response's reasoning and its answer.

    A trace that is never closed leaves an empty answer: the response was cut off inside it.
    """
    opening = _OPENING.match(response)
    if opening is None:
        closing = _CLOSING.search(response)
        if closing is None:
            return Trace("", response, 0)
        start = 0
    else:
        start = opening.end()
        closing = re.compile(rf"</{opening[1]}>").search(response, start)
        if closing is None:
            return Trace(response[start:].strip(), "", len(response))
    return Trace(
        response[start : closing.start()].strip(),
        response[closing.end() :].strip(),
        closing.end(),
    )


def answer_of(exchange: HasResponse) -> str:
    """Return what an exchange answers, without any reasoning."""
    return split_trace(exchange.response).answer


def reasoning_of(exchange: HasResponse) -> str:
    """Return an exchange's reasoning, from its own field and from the response; empty if none."""
    parts = (exchange.reasoning or "", split_trace(exchange.response).reasoning)
    return "\n".join(part for part in parts if part)


def answer_ids(
    response: str, response_ids: Sequence[int], decode: Callable[[Sequence[int]], str]
) -> tuple[int, ...] | None:
    """Return the stored token ids of the answer alone, white space before it left out.

    `decode` is the tokenizer's, and gives `response` for all ids (special tokens left out).
    Returns None where a token holds both the end of the trace and the start of the answer: then
    no ids of the teacher's stand for the answer alone.
    """
    closed_at = split_trace(response).closed_at
    if closed_at == 0:
        return tuple(response_ids)
    low, high = 0, len(response_ids)
    while low < high:
        middle = (low + high) // 2
        if len(decode(response_ids[:middle])) >= closed_at:
            high = middle
        else:
            low = middle + 1
    before = decode(response_ids[:low])
    if not response.startswith(before) or before[closed_at:].strip():
        return None
    rest = list(response_ids[low:])
    while rest and decode(rest[:1]).isspace():
        del rest[0]
    return tuple(rest)
