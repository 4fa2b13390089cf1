"""The one way to report progress.

Stages take a `Progress` and never print. The command line chooses the implementation: rich
bars on a terminal, plain lines elsewhere, nothing with --quiet.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Step(Protocol):
    """One running step."""

    def advance(self, amount: float = 1.0, **figures: float | int | str) -> None:
        """Count `amount` units as done; `figures` (loss, kl, busy) replace the ones shown."""


class Progress(Protocol):
    """Where steps are shown."""

    @contextmanager
    def step(self, name: str, total: float | None = None, unit: str = "") -> Iterator[Step]:
        """Show a step while the block runs; `total` in `unit`s, None where unknown."""
        ...

    def note(self, text: str) -> None:
        """Show one line that stays."""


class _SilentStep:
    def advance(self, amount: float = 1.0, **figures: float | int | str) -> None:
        pass


class Silent:
    """Shows nothing: for library use, tests and --quiet."""

    @contextmanager
    def step(self, name: str, total: float | None = None, unit: str = "") -> Iterator[Step]:
        yield _SilentStep()

    def note(self, text: str) -> None:
        pass
