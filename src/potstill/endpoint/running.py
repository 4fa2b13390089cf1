"""Run what asks a server, and tell its troubles apart."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

from potstill.errors import PotstillError

_T = TypeVar("_T")


def run_async(work: Coroutine[None, None, _T]) -> _T:
    """Return the result of async work, also where the caller is in a running loop (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _unwrapped(work)
    return _in_a_thread(work)


def _in_a_thread(work: Coroutine[None, None, _T]) -> _T:
    """Return the result of async work in a loop of its own; what stops the caller stops it, too."""
    began: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[_T]]] = Future()

    async def begun() -> _T:
        task = asyncio.current_task()
        assert task is not None
        began.set_result((asyncio.get_running_loop(), task))
        return await work

    with ThreadPoolExecutor(max_workers=1) as thread:
        done = thread.submit(_unwrapped, begun())
        try:
            return done.result()
        except BaseException:
            # Left alone it would go on asking until it is done.
            with suppress(RuntimeError):
                loop, task = began.result()
                loop.call_soon_threadsafe(task.cancel)
            raise


def _unwrapped(work: Coroutine[None, None, _T]) -> _T:
    try:
        return asyncio.run(work)
    except BaseExceptionGroup as group:
        # One task's error stops the others: what the user can put right goes first.
        known, others = group.split(PotstillError)
        raise _first(known if known is not None else others or group) from None


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
