"""The writer of a server's rows: in groups, counted once on the disk, stopped without loss."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from potstill.collect.served.rows import RowFacts, RowWriter, rows_of
from potstill.endpoint.budget import Tokens
from potstill.endpoint.client import Asked
from potstill.endpoint.wire import Answer, Choice
from potstill.exchanges.exchange import Exchange, Prompt
from potstill.exchanges.store import ExchangeStore

PROMPT = Prompt("p", ({"role": "user", "content": "Hello"},), "train", "test")
FACTS = RowFacts("test/nano", {"seed": 0}, "allow")


def made(count: int, usage: dict[str, int] | None = None) -> list[Exchange]:
    choices = tuple(Choice("x" * (i + 1), "stop") for i in range(count))
    asked = Asked(Answer(choices, (), usage or {}, "nano", None), Tokens(), 0.5)
    return rows_of(asked, PROMPT, [(i, f"id-{i}") for i in range(count)], FACTS).exchanges


def test_tokens_are_shared_by_length_and_the_prompt_counts_once() -> None:
    rows = made(3, {"prompt_tokens": 10, "completion_tokens": 60, "total_tokens": 70})
    assert [row.usage["completion_tokens"] for row in rows] == [10, 20, 30]
    assert [row.usage["prompt_tokens"] for row in rows] == [10, 0, 0]
    assert [row.usage for row in made(2)] == [{}, {}]
    assert made(0, {"completion_tokens": 5}) == []


def test_rows_are_stored_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(ExchangeStore, "append", lambda _, rows, targets: sizes.append(len(rows)))
    counted: list[Exchange] = []

    async def main() -> None:
        writer = RowWriter(ExchangeStore(tmp_path), counted.extend)
        task = asyncio.create_task(writer.run())
        for row in made(100):
            writer.put([row])
        await asyncio.sleep(0)
        writer.finish()
        await task

    asyncio.run(main())
    assert sum(sizes) == len(counted) == 100
    assert len(sizes) <= 4


def test_a_cancellation_at_any_moment_stores_what_was_handed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on, plain = threading.Event(), threading.Event(), ExchangeStore.append

    def slow(self: ExchangeStore, *rows: Any) -> None:
        begun.set()
        go_on.wait(5)
        plain(self, *rows)

    monkeypatch.setattr(ExchangeStore, "append", slow)
    rows, counted = made(40), []

    async def main(store: ExchangeStore) -> None:
        writer = RowWriter(store, lambda stored: counted.extend(r.exchange_id for r in stored))
        task = asyncio.create_task(writer.run())
        await asyncio.sleep(0)
        writer.put(rows[:32])
        await asyncio.to_thread(begun.wait)
        writer.put(rows[32:])
        task.cancel()
        go_on.set()
        async with asyncio.timeout(5):
            await asyncio.gather(task, return_exceptions=True)

    store = ExchangeStore(tmp_path)
    asyncio.run(main(store))
    assert store.ids() == {row.exchange_id for row in rows}
    assert sorted(counted) == sorted(store.ids())
    store.close()


def test_a_cancellation_beside_a_full_group_is_not_swallowed(tmp_path: Path) -> None:
    async def main(store: ExchangeStore) -> None:
        writer = RowWriter(store, lambda rows: None)
        task = asyncio.create_task(writer.run())
        await asyncio.sleep(0)
        writer.put(made(32))
        task.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    store = ExchangeStore(tmp_path)
    asyncio.run(main(store))
    assert len(store.ids()) == 32
    store.close()
