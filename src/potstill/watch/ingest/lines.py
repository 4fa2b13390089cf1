"""Lines of a file as Arrow batches with their numbers, a bounded part of the file at a time.

No line is lost: one that is no UTF-8 or too long is there with its flaw, and where compressed data
is damaged, what could not be read is one more row that says so.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from potstill.watch.ingest.fields import FLAW, LINE, PLACE, ROW

LINES = (".jsonl", ".ndjson", ".json")
PACKED = ("", ".gz", ".zst")
LONGEST_LINE = 64 << 20  # bytes; no request is that long, and it would fill the memory
_BLOCK = 4 << 20  # bytes that are read at once
_BATCH = 2 << 20  # bytes of lines in a batch, or one line
_BATCH_LINES = 2048
_BOM = b"\xef\xbb\xbf"
NOT_UTF8 = "not UTF-8"
TOO_LONG = "longer than 64 MiB"
DAMAGED = "the compressed data is damaged from here on"
_DAMAGE = (EOFError, zlib.error, gzip.BadGzipFile, pa.ArrowException, OSError)

SCHEMA = pa.schema(
    [(ROW, pa.int64()), (PLACE, pa.int64()), (FLAW, pa.string()), (LINE, pa.string())]
)


def line_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Yield batches of `SCHEMA`, lines with their line feeds: the bytes are not copied.

    Blank lines are no rows, and are counted in the numbers.

    Raises OSError where the file cannot be opened.
    """
    number = 0
    for block in _blocks(path):
        if isinstance(block, str):  # a flaw in place of lines
            number += 1
            yield _batch(np.array([number]), pa.array([None], pa.string()), block)
            continue
        starts, ends = _ends(block)
        first = 0
        while first < len(ends):
            last = int(np.searchsorted(ends, starts[first] + _BATCH, side="right"))
            last = min(max(last, first + 1), first + _BATCH_LINES)
            yield from _lines(block, starts[first:last], ends[first:last], number + first)
            first = last
        number += len(ends)


def opened(path: Path) -> BufferedReader:
    """Return a file of lines, open for reading, unpacked where it is packed."""
    name = path.name.lower()
    if name.endswith(".gz"):
        return cast(BufferedReader, gzip.open(path))
    if name.endswith(".zst"):
        return cast(BufferedReader, pa.CompressedInputStream(str(path), "zstd"))
    return path.open("rb")


def _blocks(path: Path) -> Iterator[bytes | str]:
    """Yield whole lines, each with its end, and flaws where a line could not be had."""
    rest, begun = b"", False
    with opened(path) as file:
        while True:
            try:
                # What can be had is given back before damage behind it is met.
                data = file.read1(_BLOCK)
            except _DAMAGE:
                if rest.strip():
                    yield rest + b"\n"  # half a line at most: its own flaw
                yield DAMAGED
                return
            if not data:
                break
            if not begun:
                data, begun = data.removeprefix(_BOM), True
            cut = data.rfind(b"\n") + 1
            if cut == 0:
                rest += data
                if len(rest) > LONGEST_LINE:
                    yield TOO_LONG
                    rest = _after_line(file)
                continue
            yield rest + data[:cut]
            rest = data[cut:]
    if rest.strip():
        yield rest + b"\n"


def _after_line(file: BufferedReader) -> bytes:
    """Pass over the rest of a line, and return what was read of the next."""
    while data := file.read1(_BLOCK):
        cut = data.find(b"\n") + 1
        if cut:
            return data[cut:]
    return b""


def _ends(block: bytes) -> tuple[Any, Any]:
    """Return where each line starts and ends, its line feed not counted."""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == 0x0A)
    return np.concatenate(([0], ends[:-1] + 1)), ends


def _lines(block: bytes, starts: Any, ends: Any, before: int) -> Iterator[pa.RecordBatch]:
    base = int(starts[0])
    offsets = np.append(starts, ends[-1] + 1) - base
    part = pa.py_buffer(block)[base : int(ends[-1]) + 1]
    texts = pa.StringArray.from_buffers(
        len(ends), pa.py_buffer(np.ascontiguousarray(offsets, np.int32)), part
    )
    numbers = np.arange(before + 1, before + 1 + len(ends))
    full = _filled(block, starts, ends)
    if not full.all():
        texts, numbers = texts.filter(pa.array(full)), numbers[full]
    if not len(numbers):
        return
    try:
        texts.validate(full=True)
        yield _batch(numbers, texts, None)
    except pa.ArrowInvalid:
        for number, raw in zip(numbers, texts.cast(pa.binary()), strict=True):
            text = _decoded(raw.as_py())
            flaw = NOT_UTF8 if text is None else None
            yield _batch(np.array([number]), pa.array([text], pa.string()), flaw)


def _filled(block: bytes, starts: Any, ends: Any) -> Any:
    """Tell which lines are not blank."""
    full = ends - starts > 0
    spaced = full & (np.frombuffer(block, np.uint8)[starts] <= 0x20)
    for at in np.flatnonzero(spaced):
        full[at] = bool(block[int(starts[at]) : int(ends[at])].strip())
    return full


def _decoded(raw: bytes) -> str | None:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return None


def _batch(numbers: Any, texts: pa.Array, flaw: str | None) -> pa.RecordBatch:
    flaws = pa.array([flaw] * len(numbers), pa.string()) if flaw else pa.nulls(len(numbers))
    rows = pa.array(numbers, pa.int64())
    return pa.record_batch([rows, rows, flaws.cast(pa.string()), texts], schema=SCHEMA)
