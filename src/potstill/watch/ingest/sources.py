"""The files of a log, and each as a source of rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import Literal

import duckdb
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.csv
from ibis.backends.duckdb import Backend

from potstill.canonical import digest_of_file
from potstill.durable import damage, os_reason
from potstill.errors import PotstillError
from potstill.watch.ingest import otlp
from potstill.watch.ingest.fields import FLAW, PLACE, ROW
from potstill.watch.ingest.lines import LINES, PACKED, SCHEMA, line_batches

FileKind = Literal["lines", "parquet"]
_ENDS = tuple(f"{end}{packed}" for end in LINES for packed in PACKED)
KNOWN = ".parquet, .jsonl, .ndjson or .json (one object a line; also as .gz and .zst)"
_TABLE_ROWS = 8192
_STREAM, _PARQUET = "potstill_source", "potstill_parquet"


@dataclass(frozen=True)
class TrafficFiles:
    """The files of a log in order, each once; `passed_over` are others in its folders."""

    paths: tuple[Path, ...]
    passed_over: tuple[str, ...] = ()


def traffic_files(paths: Sequence[str]) -> TrafficFiles:
    """Return the files that paths name; a folder stands for all below it.

    Raises PotstillError for a folder without a log, and for what is no file of a known kind.
    """
    found: dict[Path, None] = {}
    others: list[str] = []
    for given in paths:
        path = Path(given).expanduser()
        if not path.is_dir():
            if not path.is_file():
                raise PotstillError(f"there is no log {given}; check the path")
            if file_kind(path) is None:
                raise PotstillError(f"{path.name} is no log that is read; give {KNOWN}")
            found[path] = None
            continue
        inside = _below(path)
        logs = [one for one in inside if file_kind(one) is not None]
        if not logs:
            raise PotstillError(f"the folder {given} holds no log; put {KNOWN} there")
        found.update(dict.fromkeys(logs))
        others += [str(one.relative_to(path)) for one in inside if file_kind(one) is None]
    return TrafficFiles(tuple(found), tuple(others))


def file_kind(path: Path) -> FileKind | None:
    """Return how a file is read, as the end of its name says; None for other files."""
    name = path.name.lower()
    if name.endswith(".parquet"):
        return "parquet"
    return "lines" if name.endswith(_ENDS) else None


def file_digest(path: Path) -> str:
    """Return the digest that a file is known by. Raises PotstillError where it cannot be read."""
    try:
        return digest_of_file(path)
    except OSError as error:
        raise PotstillError(
            f"{path.name} cannot be read ({os_reason(error) or damage(error)}); see to it"
        ) from None


@contextmanager
def source_of_lines(
    backend: Backend, path: Path, *, is_otlp: bool, limit: int | None = None
) -> Iterator[ir.Table]:
    """Give the lines of a file as a source, read as they are asked for."""
    batches = line_batches(path)
    if is_otlp:
        batches = otlp.unpacked(batches)
    if limit is not None:
        batches = _first(batches, limit)
    with source_of_batches(backend, SCHEMA, batches) as table:
        yield table


@contextmanager
def source_of_batches(
    backend: Backend, schema: pa.Schema, batches: Iterator[pa.RecordBatch]
) -> Iterator[ir.Table]:
    """Give batches of Arrow as a source; they are read once."""
    reader = pa.RecordBatchReader.from_batches(schema, batches)
    backend.con.register(_STREAM, reader)
    try:
        yield backend.table(_STREAM)
    finally:
        backend.con.unregister(_STREAM)


def source_of_parquet(backend: Backend, path: Path) -> ir.Table:
    """Return a Parquet file as a source. Raises PotstillError where it is damaged."""
    quoted = escape(str(path)).replace("'", "''")
    sql = (
        f"SELECT file_row_number + 1 AS {ROW}, file_row_number + 1 AS {PLACE}, "
        f"CAST(NULL AS VARCHAR) AS {FLAW}, * EXCLUDE (file_row_number) "
        f"FROM read_parquet('{quoted}', file_row_number = true, hive_partitioning = false)"
    )
    try:
        backend.raw_sql(f"CREATE OR REPLACE TEMP VIEW {_PARQUET} AS {sql}")
        return backend.table(_PARQUET)
    except duckdb.Error as error:
        raise unreadable(path) from error


@contextmanager
def source_of_table(backend: Backend, table: ir.Table) -> Iterator[ir.Table]:
    """Give the rows of any Ibis table, on whatever engine it is, as a source."""
    with source_of_reader(backend, _reader(table)) as source:
        yield source


@contextmanager
def source_of_reader(
    backend: Backend, reader: pa.RecordBatchReader | pa.csv.CSVStreamingReader
) -> Iterator[ir.Table]:
    """Give a stream of a table's rows as a source, numbered from 1; it is read once."""
    schema = pa.schema([*(SCHEMA.field(name) for name in (ROW, PLACE, FLAW)), *reader.schema])
    with source_of_batches(backend, schema, _numbered(reader, schema)) as source:
        yield source


def _reader(table: ir.Table) -> pa.RecordBatchReader:
    """Return a table's rows as a stream, from the engine that it is on."""
    engine = table.get_backend()
    if engine.name == "duckdb":  # Ibis 12 asks DuckDB 2 for what it has no more
        engine._run_pre_execute_hooks(table)
        return engine.con.sql(engine.compile(table)).to_arrow_reader(_TABLE_ROWS)
    return table.to_pyarrow_batches(chunk_size=_TABLE_ROWS)


def unreadable(path: Path) -> PotstillError:
    """Return what to say of a file that an engine cannot read."""
    return PotstillError(f"{path.name} cannot be read: it is damaged or cut off; write it again")


def _numbered(batches: Iterator[pa.RecordBatch], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    before = 0
    for batch in batches:
        rows = pa.array(range(before + 1, before + 1 + batch.num_rows), pa.int64())
        before += batch.num_rows
        flaws = pa.nulls(batch.num_rows, pa.string())
        yield pa.record_batch([rows, rows, flaws, *batch.columns], schema=schema)


def _first(batches: Iterator[pa.RecordBatch], limit: int) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        if limit <= 0:
            return
        yield batch.slice(0, limit)
        limit -= batch.num_rows


def _below(folder: Path) -> list[Path]:
    """Return the files below a folder in order; hidden ones (`.x`, `_x`) are none."""
    try:
        found = [p for p in folder.rglob("*") if p.is_file()]
    except OSError as error:
        raise PotstillError(
            f"the folder {folder} cannot be read ({os_reason(error) or 'it does not open'})"
        ) from None
    return sorted(
        p for p in found if not any(part[0] in "._" for part in p.relative_to(folder).parts)
    )
