"""Shards of targets, and access to any row of them by its key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from potstill.exchanges.codecs import decode
from potstill.exchanges.rows import TargetKey, TargetRow, target_table
from potstill.exchanges.shards import open_shard, write_shard
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.targets import TargetValues

# A row group is decoded whole for any row in it, and costs half a kilobyte of footer.
_GROUP_BYTES = 128 * 1024


def write_target_shard(folder: Path, rows: Sequence[TargetRow]) -> Path:
    """Write rows of targets as one shard, with row groups sized for access by id."""
    mean_bytes = max(1, sum(len(row.data) for row in rows) // max(1, len(rows)))
    return write_shard(folder, target_table(rows), group_rows=max(1, _GROUP_BYTES // mean_bytes))


class TargetShards:
    """Access by id to the targets in shards. The shards are open as memory maps."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._files: dict[Path, pq.ParquetFile] = {}
        self._places: dict[TargetKey, tuple[Path, int, int]] = {}
        for path in paths:
            self._add(path)

    def _add(self, path: Path) -> None:
        file = self._files[path] = open_shard(path)
        names = ("exchange_id", "scorer", "spec")
        table = file.read(columns=list(names))
        keys = iter(zip(*(table.column(name).to_pylist() for name in names), strict=True))
        for group in range(file.num_row_groups):
            for row in range(file.metadata.row_group(group).num_rows):
                self._places[next(keys)] = (path, group, row)

    def __contains__(self, key: TargetKey) -> bool:
        return key in self._places

    def keys(self) -> Iterable[TargetKey]:
        """Return the keys of all rows."""
        return self._places.keys()

    def paths_of(self, keys: Iterable[TargetKey]) -> set[Path]:
        """Return the shards that hold any of `keys`."""
        return {self._places[key][0] for key in keys}

    def read(self, keys: Sequence[TargetKey]) -> dict[TargetKey, TargetValues]:
        """Return the values of each key; each row group is decoded once a call."""
        wanted: dict[tuple[Path, int], list[tuple[int, TargetKey]]] = defaultdict(list)
        for key in keys:
            path, group, row = self._places[key]
            wanted[path, group].append((row, key))
        found = {}
        for (path, group), places in wanted.items():
            table = self._files[path].read_row_group(group, columns=["rows", "dim", "data"])
            rows, dims, data = (table.column(name) for name in ("rows", "dim", "data"))
            for row, key in places:
                found[key] = decode(
                    TargetSpec.parse(key[2]),
                    rows[row].as_py(),
                    dims[row].as_py(),
                    data[row].as_buffer(),
                )
        return found

    def close(self) -> None:
        """Close the memory maps."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._places.clear()
