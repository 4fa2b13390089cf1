"""Wall time that a run has used, over all of its calls, kept so that a kill loses little of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil

from potstill.progress import Progress, Step
from potstill.work.rundir import RunDir
from potstill.work.time_plan import TimeSpent

# Seconds between two notes of the time.
_EVERY = 2.0


def since_process_began() -> float:
    """Return how many seconds ago this process was started."""
    return max(0.0, time.time() - psutil.Process().create_time())


class Stopwatch:
    """Seconds that a run has used: `before` this call began to count, and since."""

    def __init__(self, before: float = 0.0, now: Callable[[], float] = time.monotonic) -> None:
        self._now, self._began = now, now() - before

    def used(self) -> float:
        """Return the seconds so far."""
        return self._now() - self._began


class TimeLog:
    """Notes in a run directory, every few seconds, how much time the run has used."""

    def __init__(self, run: RunDir, watch: Stopwatch) -> None:
        self._run, self._watch, self._noted = run, watch, float("-inf")
        self._ended = False

    def note(self, *, now: bool = False) -> None:
        """Note the time, where the last note is old enough, or `now`."""
        if self._ended:
            return
        used = self._watch.used()
        if now or used - self._noted >= _EVERY:
            self._noted = used
            self._run.finish(TimeSpent(seconds=round(used, 2)))

    def end(self) -> None:
        """Note the time for the last time: what comes after would change a finished run."""
        self.note(now=True)
        self._ended = True


class Ticking:
    """A progress that notes the time as often as steps go on."""

    def __init__(self, shown: Progress, log: TimeLog) -> None:
        self._shown, self._log = shown, log

    @contextmanager
    def step(self, name: str, total: float | None = None, unit: str = "") -> Iterator[Step]:
        """Show a step as the progress beneath does."""
        self._log.note()
        with self._shown.step(name, total, unit) as step:
            yield _TickingStep(step, self._log)
        self._log.note()

    def note(self, text: str) -> None:
        """Show one line."""
        self._shown.note(text)


class _TickingStep:
    def __init__(self, shown: Step, log: TimeLog) -> None:
        self._shown, self._log = shown, log

    def advance(self, amount: float = 1.0, **figures: float | int | str) -> None:
        """Count work done, and note the time."""
        self._shown.advance(amount, **figures)
        self._log.note()
