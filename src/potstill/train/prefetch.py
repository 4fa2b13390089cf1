"""Micro-batches read ahead of the training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Part = TypeVar("Part")
Batch = TypeVar("Batch")


class Prefetch(Generic[Part, Batch]):
    """Reads the next micro-batch in a thread while the current one trains on an accelerator.

    On a CPU it reads in turn: the arithmetic of a second thread brings a second pool of OpenMP
    workers, and with more workers than cores every parallel operation of the first gets slower
    (measured: a training step took half as long again).
    """

    def __init__(self, read: Callable[[Part], Batch], ahead: bool) -> None:
        self._read, self._ahead = read, ahead
        self._pool = ThreadPoolExecutor(max_workers=1)

    def __enter__(self) -> Prefetch[Part, Batch]:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def through(self, parts: Iterable[Part]) -> Iterator[Batch]:
        """Yield the micro-batches in order, the next one being read while one is worked on."""
        if not self._ahead:
            yield from map(self._read, parts)
            return
        coming: Future[Batch] | None = None
        for part in parts:
            current, coming = coming, self._pool.submit(self._read, part)
            if current is not None:
                yield current.result()
        if coming is not None:
            yield coming.result()
