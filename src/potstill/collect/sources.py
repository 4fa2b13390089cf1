"""Rows of prompts, wherever they are: files, Hugging Face data sets, the starter set.

Every source becomes a list of rows (column -> value), each with the place it came from, so
that an error can name the line. Errors never quote a row's text.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from importlib import resources
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from potstill.errors import PotstillError
from potstill.logs.rows import Row

STARTER = "starter"
STARTER_HELD_OUT = "starter-held-out"
MAGPIE = "magpie"
# What ships with potstill: name of the source -> folder of its file.
SHIPPED = {
    STARTER: "prompts",
    STARTER_HELD_OUT: "prompts",
    "routing": "tasks",
    "routing-unlabelled": "tasks",
    "routing-held-out": "tasks",
    "orders": "tasks",
    "orders-unlabelled": "tasks",
    "orders-held-out": "tasks",
}


def read_rows(source: str) -> list[Row]:
    """Return the rows of a source, in its order.

    `source` is a name in `SHIPPED`, a path (.jsonl, .csv, .parquet, .txt; the latter has one
    prompt a line, in the column `prompt`) or `hf:NAME` with an optional `:SPLIT` (`train` if left
    out). Raises PotstillError where it cannot be read, or has no rows.
    """
    if source in SHIPPED:
        path = resources.files("potstill").joinpath("data", SHIPPED[source], f"{source}.jsonl")
        rows = list(_jsonl(path.read_text(encoding="utf-8"), f"{source}.jsonl"))
    elif source == MAGPIE:
        raise PotstillError(
            "prompts of the source magpie are written by the teacher, so they cannot be read "
            "like a file; use `potstill distill` or `potstill collect`, or name a file"
        )
    elif source.startswith("hf:"):
        rows = _hugging_face(source)
    else:
        rows = _file(source)
    if not rows:
        raise PotstillError(f"the prompt source {source} is empty; give it at least one prompt")
    return rows


def source_name(source: str) -> str:
    """Return how a source is called in stored rows: without folders, which are private."""
    if source in (*SHIPPED, MAGPIE) or source.startswith(("hf:", "calls:")):
        return source
    return f"file:{Path(source).name}"


def _file(source: str) -> list[Row]:
    path = Path(source).expanduser()
    suffix = path.suffix.lower()
    if suffix not in (*_TEXT_READERS, ".parquet"):
        raise PotstillError(
            f"the prompt source {source} is none of the known kinds; give {STARTER}, {MAGPIE}, "
            "a path that ends in .jsonl, .csv, .parquet or .txt, or hf:NAME"
        )
    if not path.is_file():
        raise PotstillError(f"the prompt file {source} does not exist; check prompts.source")
    if suffix == ".parquet":
        return _parquet(path)
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PotstillError(
            f"the prompt file {path.name} is not UTF-8 (byte {error.start}); save it as UTF-8"
        ) from None
    return list(_TEXT_READERS[suffix](text, path.name))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield (number, line) of lines that are not blank; only line feeds end a line."""
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.removesuffix("\r")


def _jsonl(text: str, name: str) -> Iterator[Row]:
    for number, line in _lines(text):
        place = f"{name}, line {number}"
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise PotstillError(
                f"{place}, is not valid JSON ({error.msg}, column {error.colno}); "
                "every line must be one JSON object"
            ) from None
        except RecursionError:
            raise PotstillError(f"{place}, is nested too deeply to be read as JSON") from None
        if not isinstance(value, dict):
            raise PotstillError(
                f"{place}, is valid JSON but no object; write it as "
                '{"prompt": "..."} or name its column with prompts.column'
            )
        yield Row(value, place)


def _text(text: str, name: str) -> Iterator[Row]:
    for number, line in _lines(text):
        yield Row({"prompt": line}, f"{name}, line {number}")


def _csv(text: str, name: str) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for values in reader:
            place = f"{name}, line {reader.line_num}"
            if None in values:
                raise PotstillError(
                    f"{place}, has more cells than the header; put text that contains commas "
                    "in double quotes"
                )
            yield Row(dict(values), place)
    except csv.Error as error:
        raise PotstillError(
            f"{name}, line {reader.line_num}, is not valid CSV ({error}); "
            "check the quotes, or save it as .jsonl"
        ) from None


_TEXT_READERS: dict[str, Callable[[str, str], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".csv": _csv,
    ".txt": _text,
}


def _parquet(path: Path) -> list[Row]:
    try:
        records = pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as error:
        raise PotstillError(
            f"the prompt file {path.name} cannot be read as Parquet ({type(error).__name__}); "
            "write it again, or convert it to .jsonl"
        ) from error
    return [Row(values, f"{path.name}, row {i}", True) for i, values in enumerate(records, start=1)]


def _hugging_face(source: str) -> list[Row]:
    """Read `hf:NAME[:SPLIT]`; data sets that need their own code are not run."""
    name, _, split = source.removeprefix("hf:").partition(":")
    if not name:
        raise PotstillError("the prompt source hf: names no data set; write hf:OWNER/NAME")
    try:
        from datasets import load_dataset
    except ImportError:
        raise PotstillError(
            f"the prompt source {source} needs the package datasets; "
            "run `pip install potstill[hf-datasets]`"
        ) from None
    split = split or "train"
    try:
        records = load_dataset(name, split=split)
        return [Row(dict(v), f"{source}, row {i}", True) for i, v in enumerate(records, 1)]
    except (OSError, ValueError, RuntimeError) as error:
        raise PotstillError(
            f"the data set {name} (split {split}) cannot be loaded ({type(error).__name__}); "
            "check its name, its split (hf:NAME:SPLIT) and the network"
        ) from error
