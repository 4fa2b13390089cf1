"""What a program that runs potstill is told while a run goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from potstill.progress import Progress, Step
from potstill.runs.in_python import in_python
from potstill.work.workdir import WorkRecord

_LOG = logging.getLogger("potstill")


class Callback:
    """Override what you want to be told. What is raised in here stops the run, which can resume."""

    def stage_started(self, stage: str) -> None:
        """A stage (`collect`, `curate`, `shrink`, `train`, `evaluate`) begins its work."""

    def stage_finished(self, stage: str, record: WorkRecord) -> None:
        """A stage has finished, durably; `record` is what it left (`work/stage_records.py`)."""

    def logged(self, entry: Mapping[str, Any]) -> None:
        """Training wrote a line of `metrics.jsonl`: a step's loss, or a validation."""

    def noted(self, text: str) -> None:
        """The run says something that stays to be read."""


class Logged:
    """Progress as lines of the logger `potstill`: notes as INFO, steps as DEBUG."""

    @contextmanager
    def step(self, name: str, total: float | None = None, unit: str = "") -> Iterator[Step]:
        """Say when a step begins and ends."""
        _LOG.debug("%s begins", name)
        yield _Uncounted()
        _LOG.debug("%s has ended", name)

    def note(self, text: str) -> None:
        """Say one line."""
        _LOG.info("%s", text)


class _Uncounted:
    def advance(self, amount: float = 1.0, **figures: float | int | str) -> None:
        pass


class Told:
    """A progress whose notes callbacks are told too."""

    def __init__(self, shown: Progress, callbacks: Sequence[Callback]) -> None:
        self._shown, self._callbacks = shown, callbacks

    @contextmanager
    def step(self, name: str, total: float | None = None, unit: str = "") -> Iterator[Step]:
        """Show a step as the progress beneath does."""
        with self._shown.step(name, total, unit) as step:
            yield step

    def note(self, text: str) -> None:
        """Show one line, in the words of a call, and tell it."""
        text = in_python(text)
        self._shown.note(text)
        for callback in self._callbacks:
            callback.noted(text)
