"""Tokens that the teacher spent on an answer and on its reasoning."""

from __future__ import annotations

from collections.abc import Callable

from potstill.exchanges.exchange import Exchange
from potstill.text.reasoning import reasoning_of


def generated_tokens(exchange: Exchange) -> int | None:
    """Return how many tokens the teacher wrote, reasoning included; None where it is not known."""
    if exchange.response_token_ids is not None:
        return len(exchange.response_token_ids)
    return exchange.usage.get("completion_tokens", exchange.usage.get("response"))


def reasoning_tokens(exchange: Exchange, count: Callable[[str], int]) -> int:
    """Return how many tokens the reasoning took: as the server said, else by `count` of it."""
    said = exchange.usage.get("reasoning_tokens")
    if said is not None:
        return said
    reasoning = reasoning_of(exchange)
    return count(reasoning) if reasoning else 0
