"""Rows on their way to the disk: stored in small groups, while others are still asked for."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Generic, TypeVar

# A transaction costs two disk syncs: rows are stored when so many wait, or after so long. That is
# the most that a kill loses.
_GROUP_ROWS = 32
_GROUP_S = 0.2

Row = TypeVar("Row")


class GroupWriter(Generic[Row]):
    """Stores rows in groups, in the order in which they were handed over.

    `store` is durable on return; it is called in a thread, one group at a time, and again with the
    same rows only after it raised. `stored` is called with rows once they are on the disk: only
    then do they count. What an error keeps from the disk stays here, for `flush`; `failed` is told
    of it.
    """

    def __init__(
        self,
        store: Callable[[list[Row]], None],
        stored: Callable[[list[Row]], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._store, self._stored, self._failed = store, stored, failed
        self._rows: list[Row] = []
        self._on_disk: list[Row] = []
        self._storing = threading.Lock()
        self._full = asyncio.Event()
        self._last = False

    def put(self, rows: Sequence[Row]) -> None:
        """Hand rows over; they are stored within a moment."""
        self._rows += rows
        if len(self._rows) >= _GROUP_ROWS:
            self._full.set()

    def finish(self) -> None:
        """Let `run` end once everything is stored."""
        self._last = True
        self._full.set()

    async def run(self) -> None:
        """Store what is handed over until `finish`, or until an error.

        That is `failed`'s, where there is such, else raised: a PotstillError for a full disk.
        """
        try:
            while not (self._last and not self._rows):
                # Not `wait_for`: before Python 3.12 it can swallow a cancellation.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_GROUP_S):
                        await self._full.wait()
                self._full.clear()
                if self._rows:
                    await asyncio.to_thread(self._commit)
                    self._tell()
        except asyncio.CancelledError:
            self.flush()
            raise
        except Exception as error:
            if self._failed is None:
                raise
            self._failed(error)

    def flush(self) -> None:
        """Store what is left, whatever ended `run`; raises PotstillError for a full disk."""
        self._commit()
        self._tell()

    def _commit(self) -> None:
        # A thread that a cancellation has left behind is waited for: its rows are stored once.
        with self._storing:
            rows = list(self._rows)
            if rows:
                self._store(rows)
                del self._rows[: len(rows)]
                self._on_disk += rows

    def _tell(self) -> None:
        rows, self._on_disk = self._on_disk, []
        if rows:
            self._stored(rows)
