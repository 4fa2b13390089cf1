"""Exchanges for tests of curation, of which only what matters is said."""

from __future__ import annotations

from typing import Any

from potstill.exchanges.exchange import Exchange, prompt_id_of


def exchange(
    exchange_id: str, response: str, *, prompt: str = "What is it?", **others: Any
) -> Exchange:
    messages = others.pop("messages", ({"role": "user", "content": prompt},))
    values: dict[str, Any] = {
        "exchange_id": exchange_id,
        "prompt_id": "p-" + prompt.encode("utf-8", "surrogatepass").hex()
        if any("\ud800" <= c <= "\udfff" for c in prompt)
        else prompt_id_of(messages),
        "split": "train",
        "messages": messages,
        "response": response,
        "prompt_token_ids": None,
        "response_token_ids": None,
        "tokenizer": None,
        "finish_reason": "stop",
        "teacher": "maker/large@1",
        "sampling": {"temperature": 1.0},
        "sample_index": 0,
        "terms_decision": "allow",
        "source": "starter",
        "created_at": "2026-01-01T00:00:00Z",
    }
    return Exchange(**{**values, **others})
