"""Rows of a log, one after the other, without holding the file.

A row that cannot be read is yielded as such, with its place: one damaged line does not cost the
others.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from potstill.canonical import parsed
from potstill.durable import damage
from potstill.errors import PotstillError
from potstill.logs.call import Reason
from potstill.logs.column_signs import SIGNS, sign_between
from potstill.logs.columns import NO_VALUE, column_values
from potstill.logs.conversations import without_nulls
from potstill.logs.endings import END_FIELDS
from potstill.logs.files import SUFFIXES, kind_of
from potstill.logs.json_rows import rows_around
from potstill.logs.rows import SourceRow
from potstill.text.tool_calls import may_be_filled_in

_LONGEST_LINE = 64 << 20  # bytes; no call is that long, and it would fill the memory
_PARQUET_ROWS = 256
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be read: where it is, and why."""

    place: str
    reason: Reason


def log_rows(path: str) -> Iterator[SourceRow | BadRow]:
    """Yield the rows of a log in its order; blank lines are no rows.

    Raises PotstillError where the file is not there, of another kind, or damaged as a whole.
    """
    file = Path(path).expanduser()
    kind = kind_of(file)
    if not file.is_file():
        raise PotstillError(f"the log of calls {path} does not exist; check collect.calls.path")
    if kind is None:
        raise PotstillError(
            f"the log of calls {file.name} is none of the known kinds; give a file that ends in "
            f"{', '.join(SUFFIXES)}"
        )
    try:
        if kind == "parquet":
            yield from _parquet(file)
        elif kind in ("csv", "tsv"):
            yield from _csv(file, "," if kind == "csv" else "\t")
        else:
            with _opened(file) as lines:
                yield from (_jsonl if kind == "lines" else _json)(lines, file.name)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as error:
        raise PotstillError(
            f"the log of calls {file.name} cannot be read ({damage(error)}); "
            "it may be damaged or cut off: write it again"
        ) from error


def _opened(path: Path) -> IO[bytes]:
    return cast(IO[bytes], gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def _jsonl(file: IO[bytes], name: str) -> Iterator[SourceRow | BadRow]:
    number = 0
    while line := file.readline(_LONGEST_LINE):
        number += 1
        place = f"{name}, line {number}"
        if len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := file.readline(_LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
            yield BadRow(place, Reason.TOO_LONG)
        elif line.strip():
            yield _json_row(line.removeprefix(_BOM) if number == 1 else line, place)


def _json(file: IO[bytes], name: str) -> Iterator[SourceRow | BadRow]:
    """Yield the rows of a JSON file: an array of them, one object, or one object a line.

    An object around one list of rows stands for these. What is not in lines is held as a whole.
    Raises PotstillError where it is no JSON, and where which list holds the rows is open.
    """
    head = file.readline(_LONGEST_LINE).removeprefix(_BOM).strip()
    first = _json_row(head, name) if head[:1] == b"{" else None
    alone = isinstance(first, SourceRow) and not any(map(bytes.strip, file))
    file.seek(0)
    if isinstance(first, SourceRow) and not (alone and rows_around(first.values, name)):
        yield from _jsonl(file, name)
        return
    raw = file.read().removeprefix(_BOM)
    if not raw.strip():
        return
    try:
        found = parsed(raw.decode())
    except json.JSONDecodeError as error:
        raise PotstillError(
            f"the log of calls {name} is no valid JSON (line {error.lineno}, column "
            f"{error.colno}: {error.msg}); correct it, or write one object a line as .jsonl"
        ) from None
    except ValueError as error:
        problem = "not UTF-8" if isinstance(error, UnicodeDecodeError) else str(error)
        raise PotstillError(
            f"the log of calls {name} cannot be read as JSON ({problem}); write it again"
        ) from None
    within = rows_around(found, name) if isinstance(found, dict) else None
    values = within or (found if isinstance(found, list) else [found])
    for number, value in enumerate(values, start=1):
        place = f"{name}, row {number}"
        yield (
            SourceRow(value, place) if isinstance(value, dict) else BadRow(place, Reason.UNREADABLE)
        )


def _json_row(line: bytes, place: str) -> SourceRow | BadRow:
    try:
        value = parsed(line.decode())
    except ValueError:
        return BadRow(place, Reason.UNREADABLE)
    return SourceRow(value, place) if isinstance(value, dict) else BadRow(place, Reason.UNREADABLE)


def _csv(path: Path, delimiter: str) -> Iterator[SourceRow | BadRow]:
    given, delimiter = delimiter, _sign_between(path) if delimiter == "," else delimiter
    # The module's own limit (128 KiB a cell) is shorter than many prompts.
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_LINE))
    with path.open("rb") as raw:
        # Bytes that are not UTF-8 become lone surrogates, and so a row that is not text.
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
        reader = csv.reader(text, strict=True, delimiter=delimiter)
        header: list[str] | None = None
        while True:
            try:
                cells = next(reader)
            except StopIteration:
                return
            except csv.Error:
                yield BadRow(f"{path.name}, line {reader.line_num}", Reason.UNREADABLE)
                continue
            place = f"{path.name}, line {reader.line_num}"
            if not cells:
                continue
            if header is None:
                header = cells
            elif len(cells) > len(header) or (given != delimiter and len(cells) < len(header)):
                yield BadRow(place, Reason.UNREADABLE)
            else:
                padded = [*cells, *[None] * (len(header) - len(cells))]
                yield SourceRow(dict(zip(header, padded, strict=True)), place)


def other_sign(path: str) -> str | None:
    """Return in words what parts the columns of a .csv, where that is not commas."""
    file = Path(path).expanduser()
    return SIGNS.get(_sign_between(file)) if kind_of(file) == "csv" else None


def _sign_between(path: Path) -> str:
    """Return what parts the columns of a header: commas, or else what alone can.

    Raises PotstillError where several signs can.
    """
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
        head = next(
            (line for line in iter(lambda: text.readline(_LONGEST_LINE), "") if line.strip()), ""
        )
    return sign_between(head, f"the log of calls {path.name}")


def _parquet(path: Path) -> Iterator[SourceRow | BadRow]:
    number = 0
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=_PARQUET_ROWS):
            for row in _batch_rows(batch):
                number += 1
                place = f"{path.name}, row {number}"
                if row is None:
                    yield BadRow(place, Reason.NOT_TEXT)
                elif may_be_filled_in(row):
                    yield BadRow(place, Reason.FILLED_IN)
                else:
                    yield SourceRow(_without_filled_in(row), place, structs=True)


def _without_filled_in(row: dict[str, Any]) -> dict[str, Any]:
    """Return a row without the nulls that typed columns give to keys which are not there.

    A null is only kept where it says that an end was left blank.
    """
    kept = {key: value for key, value in row.items() if key in END_FIELDS}
    return {**without_nulls(row), **kept}


def _batch_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | None]:
    """Yield the rows of a batch; None where one holds what Python cannot hold."""
    names = batch.schema.names
    columns = [column_values(batch.column(at)) for at in range(batch.num_columns)]
    for values in zip(*columns, strict=True):
        whole = all(value is not NO_VALUE for value in values)
        yield dict(zip(names, values, strict=True)) if whole else None
