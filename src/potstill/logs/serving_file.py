"""A serving log on the disk: a folder with one file of rows a day, which only grows.

A row is in the file of the day (UTC) that it was written on, so that a day which is over is never
written to again and its root can be taken (`potstill.logs.daily_roots`). Several processes may
write: one at a time does.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from potstill.durable import append_line, write_errors
from potstill.errors import PotstillError
from potstill.logs.daily_roots import seal
from potstill.logs.files import files_in
from potstill.logs.lines import log_rows
from potstill.logs.rows import SourceRow
from potstill.logs.serving import ServedCall, served_row
from potstill.logs.twin_needs import NoTwin

_LOCK = ".serving-log.lock"
_PATIENCE_S = 30.0


def now_utc() -> datetime:
    """Return the time, in UTC."""
    return datetime.now(UTC)


class ServingLog:
    """Writes a serving log. `clock` gives the time that rows are written at.

    Before the first row of a day is written, the days before are given their roots.
    """

    def __init__(self, folder: Path | str, *, clock: Callable[[], datetime] = now_utc) -> None:
        self.folder = Path(folder)
        self._clock = clock
        self._sealed_on: str | None = None

    def append(self, rows: Sequence[ServedCall]) -> None:
        """Write rows, durable on return; one without a salt is given one.

        Raises PotstillError for a full disk, a missing permission, and where another process does
        not let go of the log.
        """
        if not rows:
            return
        salted = [row if row.salt else row.model_copy(update={"salt": _salt()}) for row in rows]
        lines = b"\n".join(row.line() for row in salted)
        with _held(self.folder):
            day = self._clock().astimezone(UTC).date().isoformat()
            if day != self._sealed_on:
                seal(self.folder, before=day)
                self._sealed_on = day
            append_line(self.folder / f"{day}.jsonl", lines)

    def seal(self) -> None:
        """Give every day that is over its root; a log that goes on does so by itself."""
        with _held(self.folder):
            seal(self.folder, before=self._clock().astimezone(UTC).date().isoformat())


def served_rows(paths: Sequence[str]) -> Iterator[tuple[ServedCall | NoTwin, str]]:
    """Yield every row of a serving log and its place, or that it is none of its schema.

    Folders stand for the files in them. A row that was written twice (a writer that was killed
    may repeat its last ones) comes twice. Raises PotstillError where a file cannot be read.
    """
    for path in files_in(paths).paths:
        for row in log_rows(path):
            found = served_row(row.values) if isinstance(row, SourceRow) else None
            yield NoTwin.NO_ROW if found is None else found, row.place


def _salt() -> str:
    return secrets.token_hex(16)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    with write_errors(folder, "choose another folder for the serving log"):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(str(folder / _LOCK), timeout=_PATIENCE_S):
                yield
        except Timeout:
            raise PotstillError(
                f"another process has held the serving log {folder} for {_PATIENCE_S:.0f} seconds; "
                "end it, or write to another folder"
            ) from None
