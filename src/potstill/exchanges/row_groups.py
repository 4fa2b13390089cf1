"""Row groups of shards of exchanges: which splits each holds, and its rows a batch at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from potstill.exchanges.rows import require_known_version, schema_version
from potstill.exchanges.shards import open_shard

# Bytes of a batch as Arrow holds them: groups of older versions are of any size.
_BATCH_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class RowGroup:
    """One row group of a shard of exchanges of that schema version, with the splits in it.

    `at_once` is how many of its rows make a batch.
    """

    path: Path
    number: int
    version: int
    splits: frozenset[str]
    at_once: int


def row_groups(path: Path) -> Iterator[tuple[RowGroup, list[str], list[str]]]:
    """Yield each row group of a verified shard with its rows' ids and splits; no other column is
    decoded.

    Raises PotstillError for a shard of a later schema.
    """
    with open_shard(path, mapped=False) as file:
        version = schema_version(file.schema_arrow.metadata)
        require_known_version(version, f"the shard {path.parent.name}/{path.name}")
        for number in range(file.num_row_groups):
            table = file.read_row_group(number, columns=["exchange_id", "split"])
            ids, splits = (table.column(name).to_pylist() for name in ("exchange_id", "split"))
            of_rows = file.metadata.row_group(number)
            mean_bytes = max(1, of_rows.total_byte_size // max(1, of_rows.num_rows))
            at_once = max(1, _BATCH_BYTES // mean_bytes)
            yield RowGroup(path, number, version, frozenset(splits), at_once), ids, splits


def batches_of(
    groups: Iterable[RowGroup], columns: Sequence[str], split: str | None = None
) -> Iterator[tuple[RowGroup, pa.RecordBatch]]:
    """Yield the rows of groups, of one split or of all, a few megabytes at a time.

    Columns that a shard of an earlier version does not have are left out. With a split, `columns`
    has to name that column. Groups of one shard come together.
    """
    for path, inside in groupby(groups, key=attrgetter("path")):
        with open_shard(path, mapped=False) as file:
            names = [name for name in columns if name in file.schema_arrow.names]
            for group in inside:
                for batch in _batches(file, group, names):
                    if split is not None and len(group.splits) > 1:
                        batch = _only(batch, split)
                    if batch.num_rows:
                        yield group, batch


def _batches(
    file: pq.ParquetFile, group: RowGroup, columns: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Yield one group's rows."""
    found: Iterator[pa.RecordBatch] = file.iter_batches(
        batch_size=group.at_once, row_groups=[group.number], columns=list(columns)
    )
    return found


def _only(batch: pa.RecordBatch, split: str) -> pa.RecordBatch:
    """Return a batch's rows of one split."""
    column = batch.column("split")
    there = column.unique()
    names = there.to_pylist()
    if split not in names:
        return batch.slice(0, 0)
    # The column's own value: Arrow imports pandas to make one of a text.
    return batch.filter(pc.equal(column, there[names.index(split)]))
