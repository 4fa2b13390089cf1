"""Run what asks a server, and tell its troubles apart."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from potstill.errors import PotstillError

_T = TypeVar("_T")


def run_async(work: Coroutine[None, None, _T]) -> _T:
    """Return the result of async work, also where the caller is in a running loop (a notebook)."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return _unwrapped(work)
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(_unwrapped, work).result()


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
