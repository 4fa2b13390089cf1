"""Work on items one after the other, by two threads, with the results in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from potstill.extras import extra_package

WORKERS = 2
Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield a function of each item in order, found by several threads, few items ahead.

    Meanwhile linear algebra has one thread: more of them would wait for one another.
    """
    limits = extra_package("threadpoolctl", "the watch", "watch").threadpool_limits
    with limits(1, user_api="blas"), ThreadPoolExecutor(WORKERS) as pool:
        ahead: deque[Future[Result]] = deque()
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) > WORKERS:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
