"""How many requests are in flight: more while the server keeps up, fewer when it does not."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from statistics import median
from types import ModuleType

resource: ModuleType | None
try:
    import resource
except ImportError:  # Windows, which has no such limit
    resource = None

# A cut keeps this share; a step of growth adds this share of the most that is allowed.
_CUT = 0.7
_STEP = 1 / 16
# Beyond this many times the best latency more requests only wait longer: growth stops. Beyond
# the second the server is overrun. Batches that grow slow every response down as well, so that
# neither can be small.
_SLOW = 4.0
_OVERRUN = 8.0
# The best latency fades by this much an epoch, so that one lucky epoch does not count for ever.
_FADE = 1.02


# What a run opens beside its requests: the store, records, an event loop, name look-ups, modules.
_OPEN_BESIDE = 24


def open_files() -> tuple[int | None, int]:
    """Return how many files this process may have open, None for any number, and how many are."""
    if resource is None:
        return None, 0
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    for folder in ("/proc/self/fd", "/dev/fd"):
        with suppress(OSError):
            return (None if most == resource.RLIM_INFINITY else most), len(os.listdir(folder))
    return (None if most == resource.RLIM_INFINITY else most), _OPEN_BESIDE


def affordable(wanted: int, most_open: int | None, are_open: int) -> int:
    """Return how many of the wanted requests may be in flight: each holds a file open.

    `most_open` files may be open (None: any number), `are_open` are, and some are left for what
    else a run opens. 0 where there is room for none.
    """
    if most_open is None:
        return wanted
    return max(0, min(wanted, most_open - are_open - _OPEN_BESIDE))


def needed_files(wanted: int, are_open: int) -> int:
    """Return how many open files allow so many requests in flight."""
    return wanted + are_open + _OPEN_BESIDE


class InFlightLimit:
    """The arithmetic alone, without waiting: additive growth, multiplicative cuts.

    An epoch is as many responses as the limit; at its end the limit grows by one step, if the
    limit was reached while most of them came back. A congestion signal (429, 5xx, timeout) cuts
    it once: signals of requests that had begun before the last cut belong to the same episode.
    """

    def __init__(self, highest: int, *, start: int | None = None) -> None:
        self.highest = highest
        self._limit = float(min(highest, start or max(1, highest // 2)))
        self._step = max(1.0, highest * _STEP)
        self._episode = 0
        self._latencies: list[float] = []
        self._saturated = 0
        self._best: float | None = None

    @property
    def limit(self) -> int:
        """How many requests may be in flight, at least 1."""
        return max(1, int(self._limit))

    def begun(self) -> int:
        """Return the episode that a request begins in; give it back with its end."""
        return self._episode

    def answered(self, episode: int, latency_s: float, in_flight: int) -> None:
        """Count a response; `in_flight` includes its own request.

        One that began before the last cut says nothing about the limit since.
        """
        if episode != self._episode:
            return
        self._latencies.append(latency_s)
        self._saturated += in_flight >= self.limit
        if len(self._latencies) >= self.limit:
            self._end_epoch()

    def congested(self, episode: int) -> None:
        """Count a signal that the server has too much to do."""
        if episode == self._episode:
            self._cut()

    def _end_epoch(self) -> None:
        typical = median(self._latencies)
        saturated = self._saturated * 2 > len(self._latencies)
        self._latencies, self._saturated = [], 0
        best = typical if self._best is None else min(typical, self._best * _FADE)
        self._best = best
        if typical > best * _OVERRUN:
            self._cut()
        elif saturated and typical <= best * _SLOW:
            self._limit = min(float(self.highest), self._limit + self._step)

    def _cut(self) -> None:
        self._limit = max(1.0, self._limit * _CUT)
        self._episode += 1
        self._latencies, self._saturated = [], 0


class Slots:
    """Lets requests through, first come first served, as many at once as the limit says.

    Hold one while a request is open and never while waiting to try again.
    """

    def __init__(self, limit: InFlightLimit) -> None:
        self._limit = limit
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.in_flight = 0
        self.most_in_flight = 0

    @property
    def limit(self) -> int:
        """How many requests may be in flight now."""
        return self._limit.limit

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Wait for a slot, hold it while the block runs, and give the request's episode."""
        await self._take()
        try:
            yield self._limit.begun()
        finally:
            self.in_flight -= 1
            self._wake()

    def answered(self, episode: int, latency_s: float) -> None:
        """Count a response, while its slot is still held."""
        self._limit.answered(episode, latency_s, self.in_flight)

    def congested(self, episode: int) -> None:
        """Count a signal that the server has too much to do."""
        self._limit.congested(episode)

    async def _take(self) -> None:
        if self._waiting or self.in_flight >= self.limit:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                # Let through at the same moment: the place is the next one's.
                if turn.done() and not turn.cancelled():
                    self.in_flight -= 1
                    self._wake()
                raise
        else:
            self._enter()

    def _enter(self) -> None:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)

    def _wake(self) -> None:
        while self._waiting and self.in_flight < self.limit:
            turn = self._waiting.popleft()
            if not turn.done():
                self._enter()
                turn.set_result(None)
