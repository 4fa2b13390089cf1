"""A server's answers as rows: tokens are shared, and each has its own targets."""

from __future__ import annotations

from potstill.collect.served.rows import RowFacts, rows_of
from potstill.endpoint.budget import Tokens
from potstill.endpoint.client import Answered
from potstill.endpoint.wire import ChatAnswer, ChatChoice
from potstill.exchanges.exchange import Exchange, Prompt

PROMPT = Prompt("p", ({"role": "user", "content": "Hello"},), "train", "test")
FACTS = RowFacts("test/nano", {"seed": 0}, "allow")


def answered(count: int, usage: dict[str, int] | None = None) -> Answered[ChatAnswer]:
    choices = tuple(ChatChoice("x" * (i + 1), "stop") for i in range(count))
    return Answered(ChatAnswer(choices, (), usage or {}, "nano", None), Tokens(), 0.5)


def made(count: int, usage: dict[str, int] | None = None) -> list[Exchange]:
    return rows_of(
        answered(count, usage), PROMPT, [(i, f"id-{i}") for i in range(count)], FACTS
    ).exchanges


def test_tokens_are_shared_by_length_and_the_prompt_counts_once() -> None:
    rows = made(3, {"prompt_tokens": 10, "completion_tokens": 60, "total_tokens": 70})
    assert [row.usage["completion_tokens"] for row in rows] == [10, 20, 30]
    assert [row.usage["prompt_tokens"] for row in rows] == [10, 0, 0]
    assert [row.usage for row in made(2)] == [{}, {}]
    assert made(0, {"completion_tokens": 5}) == []


def test_each_row_is_handed_over_with_its_own_targets() -> None:
    rows = rows_of(answered(3), PROMPT, [(i, f"id-{i}") for i in range(3)], FACTS)
    assert [(one.exchange.exchange_id, one.targets) for one in rows.stored] == [
        ("id-0", None),
        ("id-1", None),
        ("id-2", None),
    ]
