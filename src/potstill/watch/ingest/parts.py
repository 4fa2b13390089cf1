"""Parts of a store: Parquet files, each of one source and one day, written as rows come."""

from __future__ import annotations

from collections import defaultdict
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pyarrow as pa
import pyarrow.parquet as pq

from potstill.durable import fsync_file, publish, staged, write_errors
from potstill.watch.ingest.store import TrafficStore

_FULL = 48 << 20  # bytes of a day's rows that are written together
_HELD = 160 << 20  # bytes of all days that are held
_LEVEL = 3  # of zstd
# Columns whose values hardly repeat.
_DIFFERING = frozenset(
    ("request_id", "row", "time", "prompt", "response", "messages", "prompt_sketch", "prompt_hash",
     "response_hash")
)  # fmt: skip


@dataclass
class _Day:
    tables: list[pa.Table]
    held: int = 0
    rows: int = 0
    writer: pq.ParquetWriter | None = None


class PartWriter:
    """Writes rows into one file a day, in a folder; row groups are cut by bytes.

    One row group at a time is written by a thread, while the next rows come in.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self._folder = folder
        self._schema = schema
        self._days: defaultdict[str, _Day] = defaultdict(lambda: _Day([]))
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def add(self, day: str, rows: pa.Table) -> None:
        """Take rows of a day in."""
        found = self._days[day]
        found.tables.append(rows)
        found.held += rows.nbytes
        found.rows += rows.num_rows
        if found.held >= _FULL:
            self._flush(day)
        while sum(one.held for one in self._days.values()) > _HELD:
            self._flush(max(self._days, key=lambda name: self._days[name].held))

    def finish(self) -> dict[str, tuple[Path, int]]:
        """Return the file and the rows of each day, durable."""
        found = {}
        for day in sorted(self._days):
            self._flush(day)
        self._wait()
        for day in sorted(self._days):
            writer = self._days[day].writer
            if writer is not None:
                with write_errors(self._folder, TrafficStore.way_out):
                    writer.close()
                    fsync_file(self._path(day))
                found[day] = (self._path(day), self._days[day].rows)
        return found

    def _flush(self, day: str) -> None:
        found = self._days[day]
        if not found.tables:
            return
        self._wait()
        self._writing = self._thread.submit(self._write, day, found.tables)
        found.tables, found.held = [], 0

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()

    def _write(self, day: str, tables: list[pa.Table]) -> None:
        found = self._days[day]
        with write_errors(self._folder, TrafficStore.way_out):
            if found.writer is None:
                found.writer = part_writer(self._path(day), self._schema)
            rows = pa.concat_tables(tables)
            found.writer.write_table(rows, row_group_size=max(rows.num_rows, 1))

    def _path(self, day: str) -> Path:
        return self._folder / f"{day}.parquet"


def part_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """Return a writer of a part."""
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        compression_level=_LEVEL,
        use_dictionary=[name for name in schema.names if name not in _DIFFERING],
    )


def put_table(path: Path, table: pa.Table) -> None:
    """Write a whole table in place of an earlier one, durable on return."""
    with staged(path.parent, TrafficStore.way_out) as temporary:
        pq.write_table(table, temporary, compression="zstd")
        publish(temporary, path)
