"""Immutable Parquet shards, each named by the digest of its own bytes.

The name is the checksum: a shard whose bytes no longer give its name is damaged.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from potstill.canonical import digest_of_file
from potstill.durable import fsync_folder, publish, staged
from potstill.errors import PotstillError

_PREFIX = "part-"
_ASIDE = ".corrupt"


def shards(folder: Path) -> list[Path]:
    """Return the finished shards of a table; unfinished and set-aside ones are not listed."""
    return sorted(folder.glob(f"{_PREFIX}*.parquet"))


def write_shard(folder: Path, table: pa.Table, *, group_rows: int) -> Path:
    """Write a table as one shard, durable on return, and return its path.

    `group_rows` is the unit of reading: one row group has to be decoded for each row asked.
    Raises `PotstillError` for a full disk; then nothing new is in the folder.
    """
    with staged(folder) as temporary:
        pq.write_table(
            table,
            temporary,
            compression="zstd",
            compression_level=1,
            row_group_size=group_rows,
            use_dictionary=[
                name for name in table.schema.names if name in ("scorer", "spec", "teacher")
            ],
            # Statistics of binary payloads would only repeat the payload.
            write_statistics=False,
        )
        final = folder / f"{_PREFIX}{digest_of_file(temporary)}.parquet"
        publish(temporary, final)
    fsync_folder(folder.parent)
    return final


def is_intact(path: Path) -> bool:
    """Tell whether a shard's bytes still give its name."""
    return path.name == f"{_PREFIX}{digest_of_file(path)}.parquet"


def damaged(path: Path) -> PotstillError:
    """Return the error that a damaged shard is reported with."""
    return PotstillError(
        f"the shard {path.parent.name}/{path.name} is damaged: its bytes do not give the checksum "
        "in its name; run the same command again, it is set aside and its rows are collected again"
    )


def open_shard(path: Path) -> pq.ParquetFile:
    """Open a shard whose checksum has been verified; columns are read from a memory map."""
    return pq.ParquetFile(path, memory_map=True)


def set_aside(path: Path) -> Path:
    """Rename a damaged file so that it is no longer read; return the new path."""
    aside = path.with_name(path.name + _ASIDE)
    path.replace(aside)
    fsync_folder(path.parent)
    return aside
