"""Progress for people: bars on a terminal, plain lines elsewhere. Both write to stderr."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TaskID, TextColumn
from rich.text import Text

from potstill.progress import Step
from potstill.report.words import duration, significant

Figures = Mapping[str, float | int | str]
SHORT = 2.0  # seconds; a step that takes less leaves no line


def figure(value: float | int | str) -> str:
    """Return a figure as it is shown: whole numbers whole, others to three digits."""
    if isinstance(value, float):
        return significant(value)
    return f"{value:,}" if isinstance(value, int) else str(value)


def amount(done: float, total: float | None, unit: str) -> str:
    """Return how much is done: `120 of 1,277 prompts`."""
    of = f" of {total:,.0f}" if total is not None else ""
    return f"{done:,.0f}{of} {unit}".rstrip()


def state(
    done: float, total: float | None, unit: str, seconds: float, figures: Figures, *, ended: bool
) -> str:
    """Return one line on a step: amount, rate, time left (or taken), figures."""
    parts = []
    if done or total:
        parts.append(amount(done, None if ended and done == total else total, unit))
    rate = done / seconds if seconds > 0 else 0.0
    if ended:
        parts.append(
            f"in {duration(seconds)}" if not parts else f"{parts.pop()} in {duration(seconds)}"
        )
    if rate > 0 and done > 1:
        parts.append(f"{significant(rate)}/s")
    if not ended and total and rate > 0 and done < total:
        parts.append(f"{duration((total - done) / rate)} left")
    parts += [f"{name.replace('_', ' ')} {figure(value)}" for name, value in figures.items()]
    return ", ".join(parts)


@dataclass
class _Count:
    """What is known of a running step."""

    name: str
    total: float | None
    unit: str
    started: float
    done: float = 0.0
    figures: dict[str, float | int | str] = field(default_factory=dict)

    def line(self, now: float, *, ended: bool) -> str:
        text = state(
            self.done, self.total, self.unit, now - self.started, self.figures, ended=ended
        )
        return f"{self.name}: {text}" if text else self.name


class PlainProgress:
    """One line when a step has gone on for a while, one each few seconds, one at its end."""

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        every: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream or sys.stderr
        self._every, self._clock = every, clock
        self._lock = threading.Lock()
        self._last = float("-inf")

    @contextmanager
    def step(self, name: str, total: float | None = None, unit: str = "") -> Iterator[Step]:
        """Count a step; see `potstill.progress.Progress`."""
        count = _Count(name, total, unit, self._clock())
        # A step that never advances would otherwise look like a hang.
        timer = threading.Timer(SHORT, self._print, [f"{name} ..."])
        timer.daemon = True
        timer.start()
        try:
            yield _PlainStep(self, count, timer)
        except BaseException:
            timer.cancel()
            raise
        timer.cancel()
        if self._clock() - count.started >= SHORT:
            self._print(count.line(self._clock(), ended=True))

    def note(self, text: str) -> None:
        """Print a line."""
        self._print(text)

    def advanced(self, count: _Count) -> None:
        """Print a step's line where the last line is old enough."""
        now = self._clock()
        if now - max(self._last, count.started) >= self._every:
            self._print(count.line(now, ended=False))

    def _print(self, text: str) -> None:
        with self._lock:
            self._last = self._clock()
            print(text, file=self._stream, flush=True)


class _PlainStep:
    def __init__(self, view: PlainProgress, count: _Count, timer: threading.Timer) -> None:
        self._view, self._count, self._timer = view, count, timer

    def advance(self, amount: float = 1.0, **figures: float | int | str) -> None:
        """Count work done; `figures` replace the ones shown."""
        self._timer.cancel()
        self._count.done += amount
        self._count.figures.update(figures)
        self._view.advanced(self._count)


class RichProgress:
    """A bar a running step, and a line for each that took longer than two seconds."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True, highlight=False)
        self._bars = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            _StateColumn(),
            console=self._console,
            transient=True,
        )
        self._running = 0
        self._lock = threading.Lock()

    @contextmanager
    def step(self, name: str, total: float | None = None, unit: str = "") -> Iterator[Step]:
        """Show a bar; see `potstill.progress.Progress`."""
        count = _Count(name, total, unit, time.monotonic())
        with self._lock:
            if self._running == 0:
                self._bars.start()
            self._running += 1
            task = self._bars.add_task(name, total=total, count=count)
        ended = False
        try:
            yield _RichStep(self._bars, task, count)
            ended = True
        finally:
            with self._lock:
                self._bars.remove_task(task)
                self._running -= 1
                if self._running == 0:
                    self._bars.stop()
            now = time.monotonic()
            if ended and now - count.started >= SHORT:
                self.note(count.line(now, ended=True))

    def note(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(Text(text))


class _RichStep:
    def __init__(self, bars: Progress, task: TaskID, count: _Count) -> None:
        self._bars, self._task, self._count = bars, task, count

    def advance(self, amount: float = 1.0, **figures: float | int | str) -> None:
        """Count work done; `figures` replace the ones shown."""
        self._count.done += amount
        self._count.figures.update(figures)
        self._bars.advance(self._task, amount)


class _StateColumn(TextColumn):
    def __init__(self) -> None:
        super().__init__("")

    def render(self, task: Task) -> Text:
        """Return amount, rate, time left and figures of a step."""
        count: _Count = task.fields["count"]
        seconds = time.monotonic() - count.started
        text = state(count.done, count.total, count.unit, seconds, count.figures, ended=False)
        return Text(text or duration(seconds))
