"""Many things asked of one server: as many at once as it can take, stored as they come."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Literal, Protocol, TypeVar

from potstill.endpoint.client import Answered, EndpointClient, Failure
from potstill.endpoint.groups import GroupWriter, Row
from potstill.endpoint.scoring import ScoredText
from potstill.endpoint.wire import ChatAnswer
from potstill.progress import Progress

# So many failures in a row mean that the trouble is the server's, and not that of what was asked.
HOPELESS = 50

Stopped = Literal["budget", "failures"]
Item = TypeVar("Item")
_A = TypeVar("_A", ChatAnswer, ScoredText)


@dataclass(frozen=True)
class Taken(Generic[Item, Row]):
    """What came of one request.

    `rows` are to be stored. `served` tells whether the server did its part: False counts towards
    an outage, True ends the count, None says nothing, as where the prompt itself is at fault.
    `left` is what of the item has still to be asked. After an `error` nothing more is: it is
    raised once all that came is stored.
    """

    rows: Sequence[Row] = ()
    served: bool | None = None
    left: Item | None = None
    error: Exception | None = None


class Taker(Protocol[Item, _A, Row]):
    """What `ask_many` asks for an item, and what becomes of it."""

    async def ask(self, item: Item) -> Answered[_A] | Failure:
        """Send one request for an item, by the client, and return what it says."""

    def take(self, item: Item, outcome: Answered[_A] | Failure) -> Taken[Item, Row]:
        """Return what came of a request; never called for one that the budget did not allow."""

    def store(self, rows: list[Row]) -> None:
        """Store rows, durable on return; in a thread, and again with the same ones if it raised."""

    def stored(self, rows: list[Row]) -> None:
        """Count rows that are on the disk now."""


async def ask_many(
    client: EndpointClient,
    items: Sequence[Item],
    taker: Taker[Item, _A, Row],
    *,
    progress: Progress,
    open_items: int | None = None,
    hopeless: int = HOPELESS,
) -> Stopped | None:
    """Ask for every item and store what comes; return why it stopped short, if it did.

    The client is opened, its server is checked, and it is closed. Of the items `open_items` (as
    many as requests may be in flight, where it is None) are worked on at a time, in their order.
    Rows are stored in groups, at the latest after 0.2 seconds: a kill loses no more, and the next
    call asks for what is missing.

    It stops short at a `budget` that allows no further request, and after `hopeless` requests in a
    row that the server failed at (`failures`). Whatever a request, `taker` or the disk raises ends
    it as well, and so does an interruption: nothing more is asked, what is in flight at an error
    may be paid for and is waited for, all that came is stored, and then it is raised. PotstillError
    where no item could fare better: no server, a wrong key or model, a full disk.
    """
    if not items:
        return None
    asking = _Asking(client, items, taker, progress, hopeless)
    await asking.run(min(len(items), open_items or client.max_in_flight))
    return asking.stopped


class _Asking(Generic[Item, _A, Row]):
    """One call of `ask_many` while it goes on."""

    def __init__(
        self,
        client: EndpointClient,
        items: Sequence[Item],
        taker: Taker[Item, _A, Row],
        progress: Progress,
        hopeless: int,
    ) -> None:
        self._client, self._items = client, iter(items)
        self._taker: Taker[Item, _A, Row] = taker
        self._progress, self._hopeless = progress, hopeless
        self._writer = GroupWriter(taker.store, taker.stored, self._give_up)
        self._failed_in_a_row = 0
        self._error: Exception | None = None
        self.stopped: Stopped | None = None

    async def run(self, workers: int) -> None:
        """Ask for every item; on an error too, what came is stored."""
        try:
            async with self._client:
                await self._client.check()
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._writer.run())
                    try:
                        await asyncio.wait(
                            [tasks.create_task(self._work()) for _ in range(workers)]
                        )
                    finally:
                        self._writer.finish()
        finally:
            # No connection is open any more: what found no room for another file has it now.
            self._writer.flush()
        if self._error is not None:
            raise self._error

    @property
    def _ended(self) -> bool:
        return self.stopped is not None or self._error is not None

    async def _work(self) -> None:
        for item in self._items:
            left: Item | None = item
            while left is not None and not self._ended:
                try:
                    left = await self._ask(left)
                except Exception as error:
                    self._give_up(error)
            if self._ended:
                return

    async def _ask(self, item: Item) -> Item | None:
        """Send one request for an item, and return what of the item is left to be asked."""
        outcome = await self._taker.ask(item)
        if isinstance(outcome, Failure):
            if self._error is not None:
                return None  # it was stopped: that says nothing of the item
            if outcome.kind == "budget":
                self.stopped = self.stopped or "budget"
                return None
        taken = self._taker.take(item, outcome)
        self._writer.put(taken.rows)
        if taken.error is not None:
            self._give_up(taken.error)
        elif taken.served:
            self._failed_in_a_row = 0
        elif taken.served is False:
            self._failed_in_a_row += 1
            if self._failed_in_a_row >= self._hopeless:
                self.stopped = self.stopped or "failures"
        return taken.left

    def _give_up(self, error: Exception) -> None:
        """Ask nothing more after an error; what others have in flight is paid for, and waited
        for."""
        if self._error is not None:
            return
        self._error = error
        self._client.stop()
        if self._client.slots.in_flight:
            self._progress.note(
                f"stopping: {self._client.slots.in_flight} requests in flight are waited for"
            )
