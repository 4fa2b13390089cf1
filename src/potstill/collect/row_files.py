"""Files of rows, as people have them: JSON, JSON Lines, CSV, Parquet, text.

Every row comes with the place it is from, so that an error can name the line. Errors never quote
a row's text.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from potstill.durable import damage
from potstill.errors import PotstillError
from potstill.logs.column_signs import SIGNS, sign_between
from potstill.logs.columns import NO_VALUE, column_values
from potstill.logs.conversations import COLUMNS, like_message
from potstill.logs.rows import SourceRow

_LINES = (".jsonl", ".ndjson")
KINDS = (".jsonl", ".jsonl.gz", ".json", ".csv", ".tsv", ".parquet", ".txt")
_LONGEST_CELL = 64 << 20  # bytes; the module's own limit (128 KiB) is shorter than many prompts
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")


@dataclass(frozen=True)
class SourceRows:
    """Rows in their order, and in `notes` what is to be said of how they were read.

    `column` holds the prompts, where the kind of source decides that and not the recipe.
    """

    rows: tuple[SourceRow, ...]
    notes: tuple[str, ...] = ()
    column: str | None = None

    def __iter__(self) -> Iterator[SourceRow]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


def kind_of(name: str) -> str | None:
    """Return how a file of rows is written, as the end of its name says; None for other files."""
    whole = name.lower()
    bare = whole.removesuffix(".gz")
    if bare.endswith(_LINES):
        return ".jsonl"
    suffix = Path(bare).suffix
    return suffix if suffix in KINDS and (bare == whole or suffix != ".parquet") else None


def read_file(path: Path) -> SourceRows:
    """Return the rows of a file whose kind is known. Raises PotstillError where it is damaged."""
    kind = kind_of(path.name)
    if kind == ".parquet":
        return SourceRows(_parquet(path))
    text = _text_of(path)
    if kind in (".csv", ".tsv"):
        return _csv(text, path.name, "," if kind == ".csv" else "\t")
    rows = tuple(_TEXT_READERS[kind or ".txt"](text, path.name))
    return SourceRows(rows, column="prompt" if kind == ".txt" else None)


def json_lines(text: str, name: str) -> Iterator[SourceRow]:
    """Yield the object of every line that is not blank."""
    for number, line in _lines(text):
        place = f"{name}, line {number}"
        yield SourceRow(_object(_loaded(line, place), place), place)


def _text_of(path: Path) -> str:
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".gz":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise PotstillError(_unreadable(path, error)) from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PotstillError(
            f"the prompt file {path.name} is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from None


def _unreadable(path: Path, error: Exception) -> str:
    if isinstance(error, PermissionError):
        return f"the prompt file {path.name} may not be read; give yourself the right to read it"
    return (
        f"the prompt file {path.name} cannot be read ({damage(error)}); it may be damaged or "
        "cut off: write it again"
    )


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of lines that are not blank; only line feeds end a line."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")


def _text(text: str, name: str) -> Iterator[SourceRow]:
    for number, line in _lines(text):
        yield SourceRow({"prompt": line}, f"{name}, line {number}")


def _loaded(line: str, place: str) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise PotstillError(
            f"{place}, is not valid JSON ({error.msg}, column {error.colno}); "
            "every line must be one JSON object"
        ) from None
    except RecursionError:
        raise PotstillError(f"{place}, is nested too deeply to be read as JSON") from None


def _object(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise PotstillError(
            f"{place}, is valid JSON but no object; write it as "
            '{"prompt": "..."} or name its column with prompts.column'
        )
    return value


def _json(text: str, name: str) -> Iterator[SourceRow]:
    """Yield the objects of a JSON list, of an object that holds one, or of JSON Lines."""
    if not text.strip():
        return
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data":  # one value after another: JSON Lines by another name
            yield from json_lines(text, name)
            return
        raise PotstillError(
            f"{name}, line {error.lineno}, is not valid JSON ({error.msg}, column {error.colno}); "
            "save it as a list of objects, or one object a line"
        ) from None
    except RecursionError:
        raise PotstillError(f"{name} is nested too deeply to be read as JSON") from None
    items, where = _listed(value, name)
    if items and all(map(like_message, items)):
        raise PotstillError(
            f"{name} is a list of messages, where a list of prompts is needed; write the "
            'conversation as [{"messages": [...]}]'
        )
    for number, item in enumerate(items, start=1):
        place = f"{where}, item {number}"
        yield SourceRow(_object(item, place), place)


def _listed(value: Any, name: str) -> tuple[Sequence[Any], str]:
    """Return the items of a JSON file, and the words for where they stand."""
    if isinstance(value, list):
        return value, name
    lists = {k: v for k, v in value.items() if _objects(v)} if isinstance(value, dict) else {}
    if not lists or value.keys() & set(COLUMNS) - lists.keys():
        if isinstance(value, dict) and value and all(_column(v) for v in value.values()):
            raise PotstillError(
                f"{name} holds columns of cells, where a list of rows is needed; save it as "
                "records, or as .jsonl"
            )
        return [value], name
    named = [key for key in lists if _PLAIN_NAME.fullmatch(key)]
    if len(lists) > 1:
        raise PotstillError(
            f"{name} holds several lists of objects ({', '.join(named)}); save the one that is "
            "meant as a file of its own"
        )
    ((key, items),) = lists.items()
    return items, f"{name}, {key}" if named else name


def _objects(value: Any) -> bool:
    """Tell whether a value is a list of objects that are no messages, which make one row."""
    if not isinstance(value, list) or not value or not all(isinstance(v, dict) for v in value):
        return False
    return not all(map(like_message, value))


def _column(value: Any) -> bool:
    """Tell whether a value is a column as data frames write it: cells by the row's number."""
    return isinstance(value, Mapping) and bool(value) and all(key.isdigit() for key in value)


def _csv(text: str, name: str, delimiter: str) -> SourceRows:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    found = sign_between(text, name) if delimiter == "," else delimiter
    other = None if found == delimiter else SIGNS[found]
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, delimiter=found)
    rows = []
    try:
        _distinct_columns(reader.fieldnames or (), name)
        for values in reader:
            place = f"{name}, line {reader.line_num}"
            if None in values:
                raise PotstillError(
                    f"{place}, has more cells than the header; put text that contains "
                    f"{other or ('commas' if delimiter == ',' else 'tabs')} in double quotes"
                )
            if other is not None and None in values.values():
                raise PotstillError(
                    f"{place}, has fewer cells than the header, which has {other} and no commas; "
                    "save the file with commas between its columns, or as .jsonl"
                )
            rows.append(SourceRow(dict(values), place))
    except csv.Error as error:
        raise PotstillError(
            f"{name}, line {reader.line_num}, is not valid CSV ({error}); "
            "check the quotes, or save it as .jsonl"
        ) from None
    notes = () if other is None else (f"{name} has {other} between its columns, not commas",)
    return SourceRows(tuple(rows), notes)


def _distinct_columns(names: Sequence[str], name: str) -> None:
    twice = next((column for i, column in enumerate(names) if column in names[:i]), None)
    if twice is not None:
        shown = f"the column {twice}" if _PLAIN_NAME.fullmatch(twice) else "a column"
        raise PotstillError(f"{name} has {shown} twice; rename one of them")


_TEXT_READERS: dict[str, Callable[[str, str], Iterator[SourceRow]]] = {
    ".jsonl": json_lines,
    ".json": _json,
    ".txt": _text,
}


def _parquet(path: Path) -> tuple[SourceRow, ...]:
    try:
        table = pq.read_table(path)
        columns = {
            name: column_values(table.column(i)) for i, name in enumerate(table.schema.names)
        }
    except (pa.ArrowException, ValueError, OverflowError, OSError) as error:
        if isinstance(error, PermissionError):
            raise PotstillError(_unreadable(path, error)) from error
        raise PotstillError(
            f"the prompt file {path.name} cannot be read as Parquet ({damage(error)}); "
            "write it again, or convert it to .jsonl"
        ) from error
    rows = []
    for number in range(table.num_rows):
        place = f"{path.name}, row {number + 1}"
        values = {name: column[number] for name, column in columns.items()}
        for name, value in values.items():
            if value is NO_VALUE:
                shown = name if _PLAIN_NAME.fullmatch(name) else "a column"
                raise PotstillError(
                    f"{place}: {shown} holds what cannot be read; convert the file to .jsonl"
                )
        rows.append(SourceRow(values, place, structs=True))
    return tuple(rows)
