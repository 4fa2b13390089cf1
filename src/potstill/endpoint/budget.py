"""What may be spent: a request's worst case is set aside before it starts. Pure accounting."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

# What a chat template may add to a prompt, in tokens: once, and for every message.
_TEMPLATE_TOKENS = 128
_MESSAGE_TOKENS = 32
# What a server may add to a prompt where tools are on offer.
_TOOLS_TOKENS = 1024
_CHARACTERS_A_TOKEN = 4
_SAID = ("content", "name", "tool_call_id")  # what a template may write of a message

Verdict = Literal["go", "wait", "stop"]


@dataclass(frozen=True)
class Tokens:
    """Tokens read and written."""

    prompt: int = 0
    response: int = 0

    def __add__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt + other.prompt, self.response + other.response)

    def __sub__(self, other: Tokens) -> Tokens:
        return Tokens(self.prompt - other.prompt, self.response - other.response)

    @property
    def total(self) -> int:
        """Both together."""
        return self.prompt + self.response


@dataclass(frozen=True)
class Prices:
    """What a million tokens cost; None where it is not known."""

    prompt: float | None = None
    response: float | None = None

    def of(self, tokens: Tokens) -> float | None:
        """Return the money that tokens cost, None where a price is not known."""
        if self.prompt is None or self.response is None:
            return None
        return (tokens.prompt * self.prompt + tokens.response * self.response) / 1e6


def most_prompt_tokens(
    messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] | None = None
) -> int:
    """Return more tokens than the prompt of these messages can have: a token takes a byte.

    Calls and tools count as JSON in its longest usual form: indented, all but ASCII escaped.
    """
    texts = ["".join(str(m.get(key) or "") for key in _SAID) for m in messages]
    lengths = [len(text.encode("utf-8", "surrogatepass")) for text in texts]
    calls = [_longest_json(m["tool_calls"]) for m in messages if m.get("tool_calls")]
    offered = _longest_json(tools) + _TOOLS_TOKENS if tools else 0
    spoken = sum(lengths) + _MESSAGE_TOKENS * (len(lengths) + len(calls))
    return spoken + sum(calls) + offered + _TEMPLATE_TOKENS


def likely_prompt_tokens(texts: Iterable[str]) -> int:
    """Return about how many tokens a prompt has, at four characters a token."""
    return sum(-(-len(text) // _CHARACTERS_A_TOKEN) for text in texts)


def _longest_json(value: Any) -> int:
    return len(json.dumps(value, indent=4))


class Budget:
    """Money and tokens spent, and set aside for what is in flight.

    A request goes if its worst case fits beside all that is spent and set aside. It waits if it
    fits once the others are settled, and stops everything if it does not fit even then: so no
    request is ever started that could exceed the budget.
    """

    def __init__(
        self,
        prices: Prices,
        *,
        money: float | None = None,
        tokens: int | None = None,
        spent: Tokens | None = None,
    ) -> None:
        self.prices = prices
        self.spent = spent or Tokens()
        self.reserved = Tokens()
        self._most_money, self._most_tokens = money, tokens

    def reserve(self, worst: Tokens) -> Verdict:
        """Set a request's worst case aside where it fits (`go`)."""
        if self._fits(self.spent + self.reserved + worst):
            self.reserved += worst
            return "go"
        return "wait" if self._fits(self.spent + worst) else "stop"

    def settle(self, worst: Tokens, used: Tokens) -> None:
        """Count what a request really used, instead of its worst case."""
        self.reserved -= worst
        self.spent += used

    def _fits(self, tokens: Tokens) -> bool:
        money = self.prices.of(tokens)
        if self._most_money is not None and (money is None or money > self._most_money):
            return False
        return self._most_tokens is None or tokens.total <= self._most_tokens
