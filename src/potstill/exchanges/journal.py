"""The journal: where acknowledged rows are until they are compacted into shards.

One SQLite file in WAL mode with `synchronous=FULL`: a transaction that has committed is on the
disk, one that has not never happened. A journal has a unique name and is deleted whole after
compaction, so that a stale write-ahead log can never be paired with another database.
"""

from __future__ import annotations

import json
import os
import sqlite3
import uuid
from collections.abc import Container, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from potstill.durable import (
    disk_full,
    fsync_folder,
    out_of_files,
    too_many_open,
    write_errors,
)
from potstill.errors import PotstillError
from potstill.exchanges.rows import (
    SCHEMA_VERSION,
    Mark,
    MarkRow,
    TargetKey,
    TargetRow,
    require_known_version,
    upgraded,
)

_PATTERN = "journal-*.sqlite"
# A size limit shows as a failed write, and as shared memory that cannot grow.
_FULL_DISK_CODES = {sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE}
_SIDE_FILES = ("-wal", "-shm", "-journal")
# Targets are blobs of a hundred kilobytes: large pages keep their chains short.
_PAGE_BYTES = 32_768
# Values that one statement takes; older SQLite takes no more than 999.
_AT_ONCE = 500
_SCHEMA = """
CREATE TABLE IF NOT EXISTS exchanges (exchange_id TEXT PRIMARY KEY, row TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS targets (
    exchange_id TEXT, scorer TEXT, spec TEXT, rows INTEGER, dim INTEGER, data BLOB,
    PRIMARY KEY (exchange_id, scorer, spec)
);
CREATE TABLE IF NOT EXISTS marks (
    exchange_id TEXT, marker TEXT, kept INTEGER, reason TEXT, sequence INTEGER PRIMARY KEY
);
"""


def journals(folder: Path) -> list[Path]:
    """Return the journals in a folder; more than one only after two writers at a time."""
    return sorted(folder.glob(_PATTERN))


class Journal:
    """Open rows in one SQLite file. Not safe for several threads without the caller's lock."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with _sqlite_errors(path):
            self._connection = sqlite3.connect(
                path, timeout=30, isolation_level=None, check_same_thread=False
            )
            for pragma in (
                f"page_size={_PAGE_BYTES}",
                "journal_mode=WAL",
                "synchronous=FULL",
                "fullfsync=1",
            ):
                self._connection.execute(f"PRAGMA {pragma}")
            self._connection.executescript(_SCHEMA)
            (version,) = self._connection.execute("PRAGMA user_version").fetchone()
        try:
            # Before versions were numbered there was none (0).
            require_known_version(version or 1, f"the journal {path.parent.name}/{path.name}")
        except PotstillError:
            self.close()
            raise

    @classmethod
    def create(cls, folder: Path) -> Journal:
        """Create an empty journal under a new unique name."""
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            journal = cls(folder / f"journal-{uuid.uuid4().hex}.sqlite")
            with _sqlite_errors(journal.path):
                journal._connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
            fsync_folder(folder)
            fsync_folder(folder.parent)
        return journal

    def append(
        self,
        exchanges: Sequence[dict[str, Any]] = (),
        targets: Sequence[TargetRow] = (),
        marks: Sequence[MarkRow] = (),
    ) -> None:
        """Store all rows in one transaction, durable on return; all of them or none."""
        with self._transaction():
            self._connection.executemany(
                "INSERT INTO exchanges VALUES (?, ?)",
                [(row["exchange_id"], json.dumps(row)) for row in exchanges],
            )
            self._connection.executemany(
                "INSERT INTO targets VALUES (?, ?, ?, ?, ?, ?)",
                [(*row.key, row.rows, row.dim, row.data) for row in targets],
            )
            self._connection.executemany(
                "INSERT INTO marks VALUES (?, ?, ?, ?, ?)",
                [
                    (m.mark.exchange_id, m.mark.marker, m.mark.kept, m.mark.reason, m.sequence)
                    for m in marks
                ],
            )

    def every_exchange(
        self, only: Container[str] | None = None
    ) -> Iterator[tuple[dict[str, Any], int]]:
        """Yield the rows of exchanges, or of those in `only`, in today's form and as they lie,
        with the bytes of each.

        They come a few at a time, and the journal is not written to until it is at its end.
        """
        with _sqlite_errors(self.path):
            for key, row in self._connection.execute("SELECT exchange_id, row FROM exchanges"):
                if only is None or key in only:
                    yield _todays(row), len(row)

    def exchanges(self, ids: Sequence[str]) -> list[dict[str, Any]]:
        """Return the rows of some exchanges in today's form, in the order asked, each named once.

        Each is looked up: of many, `every_exchange` is the faster.
        """
        found: dict[str, dict[str, Any]] = {}
        for start in range(0, len(ids), _AT_ONCE):
            asked = ids[start : start + _AT_ONCE]
            places = ",".join("?" * len(asked))
            sql = f"SELECT exchange_id, row FROM exchanges WHERE exchange_id IN ({places})"
            found.update((key, _todays(row)) for key, row in self._query(sql, asked))
        return [found[key] for key in ids]

    def target_extents(self) -> dict[TargetKey, tuple[int, int]]:
        """Return the key of every row of targets with its positions and the bytes of its data."""
        rows = self._query("SELECT exchange_id, scorer, spec, rows, length(data) FROM targets")
        return {(row[0], row[1], row[2]): (row[3], row[4]) for row in rows}

    def target(self, key: TargetKey) -> TargetRow:
        """Return one row of targets; raises `KeyError` where there is none."""
        rows = self._query(
            "SELECT rows, dim, data FROM targets WHERE exchange_id = ? AND scorer = ? AND spec = ?",
            key,
        )
        if not rows:
            raise KeyError(key)
        return TargetRow(*key, *rows[0])

    def marks(self) -> list[MarkRow]:
        """Return the rows of marks."""
        rows = self._query("SELECT exchange_id, marker, kept, reason, sequence FROM marks")
        return [MarkRow(Mark(row[0], row[1], bool(row[2]), row[3]), row[4]) for row in rows]

    def drop(self, targets: Sequence[TargetKey], marks: Sequence[int]) -> None:
        """Delete rows of targets by key and of marks by sequence, in one transaction."""
        with self._transaction():
            self._connection.executemany(
                "DELETE FROM targets WHERE exchange_id = ? AND scorer = ? AND spec = ?", targets
            )
            self._connection.executemany(
                "DELETE FROM marks WHERE sequence = ?", [(m,) for m in marks]
            )

    def remove(self) -> None:
        """Close and delete the journal; call it when every row of it is in a durable shard."""
        self.close()
        with write_errors(self.path.parent):
            self.path.unlink(missing_ok=True)
            for suffix in _SIDE_FILES:
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            fsync_folder(self.path.parent)

    def close(self) -> None:
        """Close the file; its rows stay."""
        with _sqlite_errors(self.path):
            self._connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _sqlite_errors(self.path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                # A full disk may have rolled back already.
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def _query(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with _sqlite_errors(self.path):
            return self._connection.execute(sql, values).fetchall()


def _todays(text: str) -> dict[str, Any]:
    """Return a row in today's form, whichever version wrote it."""
    row: dict[str, Any] = json.loads(text)
    # Rows of several versions may lie in one journal: a later version goes on in it.
    return upgraded(row, SCHEMA_VERSION if "tools" in row else 1)


def journal_is_intact(path: Path) -> bool:
    """Tell whether SQLite can read a journal from end to end."""
    try:
        connection = sqlite3.connect(path, timeout=30)
        try:
            return bool(connection.execute("PRAGMA quick_check").fetchone() == ("ok",))
        finally:
            connection.close()
    except sqlite3.DatabaseError:
        return False


def set_aside_journal(path: Path) -> Path:
    """Rename a damaged journal so that it is no longer read; return the new path."""
    for suffix in _SIDE_FILES:
        side = Path(f"{path}{suffix}")
        if side.exists():
            side.rename(Path(f"{path}.corrupt{suffix}"))
    aside = Path(f"{path}.corrupt")
    path.rename(aside)
    fsync_folder(path.parent)
    return aside


def _none_can_be_opened(path: Path) -> bool:
    """Tell whether no file at all can be opened now: SQLite does not say why it could not."""
    try:
        os.close(os.open(path.parent, os.O_RDONLY))
    except OSError as error:
        return out_of_files(error)
    return False


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    """Turn a full disk and a damaged file into a `PotstillError`; anything else is a bug."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        extended = getattr(error, "sqlite_errorcode", None) or 0
        primary = extended & 0xFF
        if primary == sqlite3.SQLITE_FULL or extended in _FULL_DISK_CODES:
            raise disk_full(path.parent) from error
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise PotstillError(
                f"the journal {path.parent.name}/{path.name} is damaged; run the same command "
                "again, it is set aside and its rows are collected again"
            ) from error
        if primary == sqlite3.SQLITE_CANTOPEN and _none_can_be_opened(path):
            raise too_many_open(path.parent) from error
        if primary in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
            raise PotstillError(
                f"cannot write to {path.parent}: permission denied; choose another directory with "
                "--out or change its permissions"
            ) from error
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise PotstillError(
                f"the journal {path.parent.name}/{path.name} is in use by another process; wait "
                "until it has ended"
            ) from error
        raise
