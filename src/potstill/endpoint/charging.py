"""What an answer is charged with. Pure functions.

The server's own figures stand, but where they cannot be all: llama.cpp counts one of several
answers, and some servers say nothing, or 0. Then what came is counted: never below what the server
says, and never below what it may have been, so that a budget holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from potstill.endpoint.budget import Tokens
from potstill.endpoint.scoring import ScoredText
from potstill.endpoint.wire import Answer, Choice

# `stated`: by the server; `counted`: by the tokens that came; `estimated`: from the text, upwards;
# `unknown`: the server says nothing, so that it is the most that it can have been.
Basis = Literal["stated", "counted", "estimated", "unknown"]
# What a template may write around one call of a tool.
_AROUND_CALLS = 64


@dataclass(frozen=True)
class Charge:
    """Tokens that an answer is charged with, and where their number comes from."""

    used: Tokens
    basis: Basis


def charge_of(answer: Answer | ScoredText, worst: Tokens, n: int) -> Charge:
    """Return what an answer to a request for `n` is charged with; `worst` bounds the request."""
    prompt = answer.usage.get("prompt_tokens", 0) or worst.prompt
    stated = answer.usage.get("completion_tokens")
    if isinstance(answer, ScoredText):
        known = stated is not None and bool(answer.usage.get("prompt_tokens"))
        response = worst.response if stated is None else stated
        return Charge(Tokens(prompt, response), "stated" if known else "unknown")
    if stated is None:
        return Charge(Tokens(prompt, worst.response), "unknown")
    limit = worst.response // n
    came, basis = _came(answer, stated, limit)
    known = bool(answer.usage.get("prompt_tokens"))
    return Charge(Tokens(prompt, max(stated, came)), basis if known else "unknown")


def tokens_in(choice: Choice, limit: int) -> int:
    """Return how many tokens an answer of at most `limit` has, or more: never fewer.

    One that was cut off has as many as the limit. A position told by the server is one token, or
    where it holds more than ASCII (a character of several tokens is told once) one for each byte;
    text alone is one for each byte, with one for its end.
    """
    if choice.finish == "length":
        return limit
    told = [score.text for score in choice.scores or ()]
    if sum(map(len, told)) >= len(choice.text) + len(choice.reasoning or "") and told:
        return min(limit, sum(1 if text.isascii() else len(_bytes(text)) for text in told))
    calls = len(_bytes(choice.tool_calls or "")) + _AROUND_CALLS if choice.tool_calls else 0
    spoken = len(_bytes(choice.text)) + len(_bytes(choice.reasoning or ""))
    return min(limit, spoken + calls + 1)


def _came(answer: Answer, stated: int, limit: int) -> tuple[int, Basis]:
    """Return how many tokens came, where the server's figure cannot be all of them."""
    at_least = sum(map(_least, answer.choices))
    if stated >= at_least and not answer.counts_one:
        return stated, "stated"
    # Some services count reasoning apart, and charge for it.
    apart = stated + answer.usage.get("reasoning_tokens", 0)
    if apart >= at_least and not answer.counts_one:
        return apart, "counted"
    most = sum(tokens_in(choice, limit) for choice in answer.choices)
    whole = all(choice.scores for choice in answer.choices) and not answer.unusable
    return most + limit * len(answer.unusable), "counted" if whole else "estimated"


def _least(choice: Choice) -> int:
    """Return fewer tokens than an answer has: a word of text is at least one."""
    if choice.scores:
        return len(choice.scores)
    words = len(choice.text.split()) + len((choice.reasoning or "").split())
    return max(1, words)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
