"""Shards of targets, and access to any row of them by its key."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from potstill.exchanges.codecs import decode
from potstill.exchanges.rows import TARGETS, TargetKey, TargetRow, target_table
from potstill.exchanges.shards import open_shard, runs, write_shard
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.targets import TargetValues

# A row group is decoded whole for any row in it, and costs half a kilobyte of footer.
_GROUP_BYTES = 128 * 1024
_Form = tuple[str, str]
_Place = tuple[Path, int, int]


def write_target_shard(folder: Path, rows: Sequence[TargetRow]) -> Path:
    """Write rows of targets as one shard, with row groups sized for access by id."""
    groups = runs(rows, lambda row: len(row.data), _GROUP_BYTES)
    return write_shard(folder, TARGETS, map(target_table, groups))


class TargetShards:
    """Access by id to the targets in shards. The shards are open as memory maps."""

    def __init__(self, paths: Iterable[Path]) -> None:
        self._files: dict[Path, pq.ParquetFile] = {}
        # By scorer and spec, so that who asks for one form does not go through all.
        self._places: dict[_Form, dict[str, _Place]] = defaultdict(dict)
        for path in paths:
            self._add(path)

    def _add(self, path: Path) -> None:
        file = self._files[path] = open_shard(path)
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=["exchange_id", "scorer", "spec"])
            ids, scorers, specs = (column.to_pylist() for column in table.columns)
            for row, (key, scorer, spec) in enumerate(zip(ids, scorers, specs, strict=True)):
                self._places[scorer, spec][key] = (path, group, row)

    def __contains__(self, key: TargetKey) -> bool:
        return key[0] in self.ids(*key[1:])

    def ids(self, scorer: str, spec: str) -> Collection[str]:
        """Return the exchanges with targets of a scorer in a form."""
        return self._places.get((scorer, spec), {}).keys()

    def __iter__(self) -> Iterator[TargetKey]:
        """Yield the keys of all rows."""
        for (scorer, spec), places in self._places.items():
            for key in places:
                yield key, scorer, spec

    def paths_of(self, keys: Iterable[TargetKey]) -> set[Path]:
        """Return the shards that hold any of `keys`."""
        return {self._place(key)[0] for key in keys}

    def read(self, keys: Sequence[TargetKey]) -> dict[TargetKey, TargetValues]:
        """Return the values of each key; each row group is decoded once a call."""
        wanted: dict[tuple[Path, int], list[tuple[int, TargetKey]]] = defaultdict(list)
        for key in keys:
            path, group, row = self._place(key)
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

    def _place(self, key: TargetKey) -> _Place:
        return self._places[key[1], key[2]][key[0]]
