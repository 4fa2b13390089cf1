"""Async work run from plain code, and from within a running loop as a notebook has one."""

from __future__ import annotations

import asyncio
import signal
import threading
import time

import pytest

from potstill.endpoint.running import run_async
from potstill.errors import PotstillError


async def add(one: int, other: int) -> int:
    await asyncio.sleep(0)
    return one + other


async def fail() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(10))
        group.create_task(refuse())


async def refuse() -> None:
    raise PotstillError("no")


def within_a_loop(work):  # type: ignore[no-untyped-def]
    async def cell():  # type: ignore[no-untyped-def]
        # As a notebook's kernel has it while a cell runs; asyncio alone would wait for the cell.
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            return run_async(work())
        finally:
            signal.signal(signal.SIGINT, before)

    return asyncio.run(cell())


@pytest.mark.parametrize("run", [lambda work: run_async(work()), within_a_loop])
def test_the_result_comes_back_and_so_does_what_is_raised(run) -> None:  # type: ignore[no-untyped-def]
    before = threading.active_count()
    assert run(lambda: add(1, 2)) == 3
    with pytest.raises(PotstillError, match="no"):
        run(fail)
    assert threading.active_count() == before


@pytest.mark.parametrize("run", [lambda work: run_async(work()), within_a_loop])
def test_what_stops_the_caller_stops_the_work(run) -> None:  # type: ignore[no-untyped-def]
    """Nobody goes on asking a server behind the back of whoever pressed Ctrl-C."""
    stopped: list[str] = []

    async def long() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            stopped.append("work")
            raise

    before = signal.getsignal(signal.SIGINT)
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.3, signal.pthread_kill, [main, signal.SIGINT]).start()
    start = time.monotonic()
    with pytest.raises((KeyboardInterrupt, asyncio.CancelledError)):
        run(long)
    assert stopped == ["work"]
    assert time.monotonic() - start < 30
    assert signal.getsignal(signal.SIGINT) is before
