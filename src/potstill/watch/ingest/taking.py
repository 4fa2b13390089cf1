"""One file, or one Ibis table, taken into a store: read, mapped, hashed, written, recorded."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path

import duckdb
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend

from potstill.durable import temporary_name, write_errors
from potstill.watch.ingest.engine import batches_of
from potstill.watch.ingest.mapping import MappedRows, mapped_rows
from potstill.watch.ingest.parts import PartWriter
from potstill.watch.ingest.recognise import Recognised, opened_source, recognised
from potstill.watch.ingest.repeats import losing_rows, without_rows
from potstill.watch.ingest.rows import Storing, stored
from potstill.watch.ingest.sources import file_digest, file_kind, unreadable
from potstill.watch.ingest.store import ASIDE_FOLDER, SourceRecord, TrafficStore, moved_parts
from potstill.watch.ingest.tally import FileTally, RowCounts
from potstill.watch.threads import in_order

_BATCH_BYTES, _LEAST_ROWS, _MOST_ROWS = 12 << 20, 256, 8192


@dataclass(frozen=True)
class TakingSettings:
    """What a user says of how a log is read."""

    now: datetime
    renames: Mapping[str, str]
    form: str | None = None
    with_text: bool = False


@dataclass(frozen=True)
class TakenSource:
    """What became of a file; `again` tells that the store had it already, and nothing was done."""

    digest: str
    record: SourceRecord
    again: bool = False


def take_file(
    store: TrafficStore,
    backend: Backend,
    path: Path,
    settings: TakingSettings,
    advance: Callable[[int], None] = lambda rows: None,
) -> TakenSource:
    """Take a file into a store, once.

    Raises PotstillError where it is in no known form, or damaged as a whole.
    """
    digest = file_digest(path)
    if (known := store.ingested.sources.get(digest)) is not None:
        return TakenSource(digest, known, again=True)
    found = recognised(backend, path, settings.renames, settings.form)
    with opened_source(backend, path, found) as source:
        mapped = mapped_of(store, backend, source, found, settings)
        about = SourceRecord(
            name=path.name, form=found.form.name, size=path.stat().st_size, tally=FileTally()
        )
        try:
            return take_rows(
                store, backend, mapped, digest, about, settings, advance, batch_rows(found)
            )
        except (duckdb.Error, pa.ArrowException) as error:
            if file_kind(path) == "parquet":
                raise unreadable(path) from error
            raise


def batch_rows(found: Recognised) -> int:
    """Return how many rows are handled together: about 12 MB of them."""
    if found.bytes_a_row is None:
        return _MOST_ROWS
    return min(max(int(_BATCH_BYTES / max(found.bytes_a_row, 1)), _LEAST_ROWS), _MOST_ROWS)


def mapped_of(
    store: TrafficStore,
    backend: Backend,
    source: ir.Table,
    found: Recognised,
    settings: TakingSettings,
) -> MappedRows:
    """Return the rows of a source as the store needs them."""
    text = store.config.privacy != "metadata"
    return mapped_rows(
        backend,
        source,
        found.form,
        settings.renames,
        text=text,
        keep_lines=settings.with_text,
    )


def take_rows(
    store: TrafficStore,
    backend: Backend,
    mapped: MappedRows,
    digest: str,
    about: SourceRecord,
    settings: TakingSettings,
    advance: Callable[[int], None] = lambda rows: None,
    rows_a_batch: int = _MOST_ROWS,
) -> TakenSource:
    """Take mapped rows into a store under a source's digest."""
    held = store.ingested
    how = Storing(
        source=digest[:16],
        privacy=store.config.privacy,
        key=store.key,
        now=settings.now,
        accounts=mapped.accounts,
        erased=frozenset(held.erased),
        deleted=frozenset(held.deleted_days),
    )
    with _staging(store.root) as folder, PartWriter(folder, how.schema) as writer:
        aside, counts = _Aside(folder), RowCounts()
        batches = batches_of(backend, mapped.table, rows_a_batch)
        for part in in_order(partial(stored, how=how), batches):
            for day, rows in part.days.items():
                writer.add(day, rows)
            aside.add(part.aside, settings.with_text)
            counts.add(part.counts)
            advance(part.counts.rows)
        staged = writer.finish()
        aside.finish(store.root / ASIDE_FOLDER / f"{digest[:16]}.parquet")
        names = moved_parts(store, digest, staged)
    rows_by_day = {day: rows for day, (_, rows) in staged.items()}
    source = about.model_copy(
        update={"tally": counts.tally(), "parts": names, "rows": rows_by_day, "merged": 0}
    )
    _recorded(store, backend, digest, source)
    return TakenSource(digest, store.ingested.sources[digest])


def _recorded(store: TrafficStore, backend: Backend, digest: str, source: SourceRecord) -> None:
    """Record a source whose parts are in place, repeats merged with those of its days."""
    held = store.ingested
    sources = {**held.sources, digest: source}
    gone: list[Path] = []
    for day in source.parts:
        paths = {
            store.part_path(day, one.parts[day]): name
            for name, one in sources.items()
            if day in one.parts
        }
        for path, rows in losing_rows(backend, sorted(paths)).items():
            name = paths[path]
            sources[name] = _thinned(store, sources[name], day, path, rows)
            gone.append(path)
    store.record(held.model_copy(update={"sources": sources}), gone)


def _thinned(
    store: TrafficStore, source: SourceRecord, day: str, path: Path, gone: set[tuple[str, int]]
) -> SourceRecord:
    final = next_name(path)
    with write_errors(store.root, store.way_out):
        rows = without_rows(path, final, gone)
    return replaced_part(source, day, final, rows, merged=len(gone))


def replaced_part(
    source: SourceRecord, day: str, final: Path, rows: int, merged: int = 0
) -> SourceRecord:
    """Return a source with another file for a day; one without rows is removed."""
    parts, counts = dict(source.parts), dict(source.rows)
    if rows:
        parts[day], counts[day] = final.name, rows
    else:
        final.unlink(missing_ok=True)
        del parts[day], counts[day]
    return source.model_copy(
        update={"parts": parts, "rows": counts, "merged": source.merged + merged}
    )


def next_name(path: Path) -> Path:
    """Return a name beside a part that no file has."""
    number = 2
    while (found := path.with_name(f"{path.stem[:16]}-{number}.parquet")).exists():
        number += 1
    return found


@contextmanager
def _staging(root: Path) -> Iterator[Path]:
    folder = temporary_name(root / "staging")
    with write_errors(root, TrafficStore.way_out):
        folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Aside:
    """Places and reasons of rows that were set aside, as a file where there are any."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "aside.parquet"
        self._writer: pq.ParquetWriter | None = None

    def add(self, rows: pa.Table, with_text: bool) -> None:
        if not rows.num_rows:
            return
        if not with_text:
            rows = rows.drop_columns(["text"])
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._path, rows.schema, compression="zstd")
        self._writer.write_table(rows)

    def finish(self, final: Path) -> None:
        if self._writer is None:
            return
        with write_errors(final.parent, TrafficStore.way_out):
            self._writer.close()
            final.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(self._path, final)
