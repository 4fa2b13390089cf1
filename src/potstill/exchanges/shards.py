"""Immutable Parquet shards, each named by the digest of its own bytes.

The name is the checksum: a shard whose bytes no longer give its name is damaged.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from potstill.canonical import digest_of_file
from potstill.durable import fsync_folder, publish, staged
from potstill.errors import PotstillError

_T = TypeVar("_T")

_PREFIX = "part-"
_ASIDE = ".corrupt"
# What few rows differ in. Only the split is asked for by its statistics: those of payloads and
# texts would repeat them.
_REPEATED = ("scorer", "spec", "teacher", "split")
_STATISTICS = ("split",)
# A file that was written so shortly ago may change again without its times telling.
_SETTLED_NS = 2_000_000_000
# Name, place, size and times of the shards that this process has found intact.
_intact: set[tuple[str | int, ...]] = set()


def shards(folder: Path) -> list[Path]:
    """Return the finished shards of a table; unfinished and set-aside ones are not listed."""
    return sorted(folder.glob(f"{_PREFIX}*.parquet"))


def write_shard(folder: Path, schema: pa.Schema, groups: Iterable[pa.Table]) -> Path:
    """Write tables as one shard, each as a row group of its own, and return its path.

    A row group is the unit of reading: all of it is decoded for any row in it. They are taken one
    after the other, so that no more than one has to be in memory. The shard is durable on return.
    Raises `PotstillError` for a full disk; then nothing new is in the folder.
    """
    with staged(folder) as temporary:
        with pq.ParquetWriter(
            temporary,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=[name for name in schema.names if name in _REPEATED],
            write_statistics=[name for name in schema.names if name in _STATISTICS],
        ) as writer:
            for table in groups:
                writer.write_table(table, row_group_size=max(1, table.num_rows))
        final = folder / f"{_PREFIX}{digest_of_file(temporary)}.parquet"
        publish(temporary, final)
    fsync_folder(folder.parent)
    return final


def runs(items: Sequence[_T], size: Callable[[_T], int], limit: int) -> Iterator[list[_T]]:
    """Cut items into runs of at most `limit` bytes; a larger item is a run of its own."""
    part: list[_T] = []
    held = 0
    for item in items:
        taken = size(item)
        if part and held + taken > limit:
            yield part
            part, held = [], 0
        part.append(item)
        held += taken
    if part:
        yield part


def is_intact(path: Path) -> bool:
    """Tell whether a shard's bytes still give its name.

    A process reads a file once for it, unless the file has changed since.
    """
    stamp, age_ns = _stamp(path)
    if stamp in _intact:
        return True
    intact = path.name == f"{_PREFIX}{digest_of_file(path)}.parquet"
    if intact and age_ns > _SETTLED_NS:
        _intact.add(stamp)
    return intact


def _stamp(path: Path) -> tuple[tuple[str | int, ...], int]:
    """Return what changes with a file's bytes, and the nanoseconds since it last did."""
    now, of = time.time_ns(), path.stat()
    stamp = (path.name, of.st_dev, of.st_ino, of.st_size, of.st_mtime_ns, of.st_ctime_ns)
    return stamp, now - max(of.st_mtime_ns, of.st_ctime_ns)


def damaged(path: Path) -> PotstillError:
    """Return the error that a damaged shard is reported with."""
    return PotstillError(
        f"the shard {path.parent.name}/{path.name} is damaged: its bytes do not give the checksum "
        "in its name; run the same command again, it is set aside and its rows are collected again"
    )


def open_shard(path: Path, *, mapped: bool = True) -> pq.ParquetFile:
    """Open a shard whose checksum has been verified.

    `mapped` suits rows that are asked for again and again, in any order; without it nothing of
    the file stays in memory behind a single pass.
    """
    return pq.ParquetFile(path, memory_map=mapped)


def set_aside(path: Path) -> Path:
    """Rename a damaged file so that it is no longer read; return the new path."""
    aside = path.with_name(path.name + _ASIDE)
    path.replace(aside)
    fsync_folder(path.parent)
    return aside
