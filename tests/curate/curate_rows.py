"""Exchanges for tests of curation, of which only what matters is said."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from potstill.curate.judge import Judge
from potstill.exchanges.exchange import Exchange
from potstill.text.turns import prompt_id_of


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


def judge_that(
    says: Callable[[Exchange], str],
    name: str = "maker/judge",
    identity: str = "maker/judge@1",
    kept: Path | None = None,
) -> Judge:
    """Return a judge that says something of each row, one row after another."""

    def ask(rows: Sequence[Exchange], _rubric: str) -> Iterator[dict[str, str]]:
        for row in rows:
            yield {row.exchange_id: says(row)}

    return Judge(name, identity, ask, kept)
