"""From the journal into shards, and the removal of what belongs to no exchange any more."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from potstill.durable import fsync_folder, write_errors
from potstill.exchanges.index import Folders, Index, mark_rows
from potstill.exchanges.journal import Journal
from potstill.exchanges.rows import (
    EXCHANGES,
    MARKS,
    MarkRow,
    TargetRow,
    exchange_table,
    mark_table,
)
from potstill.exchanges.shards import open_shard, runs, shards, write_shard
from potstill.exchanges.target_shards import write_target_shard

_GROUP_BYTES = 4 * 1024 * 1024
_MARKS_A_GROUP = 65_536
_EXCHANGES_A_SHARD = 65_536
_TARGET_BYTES_A_SHARD = 128 * 1024 * 1024


class _Lying(NamedTuple):
    """A row of exchanges as it lies in a journal, sorted as it will lie in a shard."""

    split: str
    prompt_id: str
    exchange_id: str
    size: int


def compact_journals(folders: Folders, journals: Sequence[Journal], index: Index) -> None:
    """Write every row that is in a journal only into shards, durable on return.

    Exchanges go first, so that a shard never holds targets of an unknown exchange. The journals
    stay as they are: deleting them is the caller's last step.
    """
    for journal in journals:
        _compact_exchanges(folders.exchanges, journal, index)
    for journal in journals:
        sizes = {key: size for key, (_, size) in journal.target_extents().items()}
        fresh = sorted(
            key
            for key in sizes
            if key not in index.target_shards and index.targets_in_journals[key] is journal
        )
        for keys in runs(fresh, sizes.__getitem__, _TARGET_BYTES_A_SHARD):
            write_target_shard(folders.targets, [journal.target(key) for key in keys])
    marks = [row for journal in journals for row in journal.marks()]
    if marks:
        _write_marks(folders.marks, marks)


def _compact_exchanges(folder: Path, journal: Journal, index: Index) -> None:
    """Write a journal's exchanges, each split in row groups of its own.

    Whoever reads a split decodes no other, and the samples of a prompt lie side by side.
    """
    mine = set(index.ids_in(journal, None))
    lying = sorted(
        _Lying(row["split"], row["prompt_id"], row["exchange_id"], size)
        for row, size in journal.every_exchange(mine)
    )
    for start in range(0, len(lying), _EXCHANGES_A_SHARD):
        groups = _groups(lying[start : start + _EXCHANGES_A_SHARD])
        tables = (exchange_table(journal.exchanges(ids)) for ids in groups)
        write_shard(folder, EXCHANGES, tables)


def _groups(rows: Sequence[_Lying]) -> Iterator[list[str]]:
    """Yield the ids of one row group after the other."""
    for _, inside in groupby(rows, key=attrgetter("split")):
        for part in runs(list(inside), attrgetter("size"), _GROUP_BYTES):
            yield [row.exchange_id for row in part]


def _write_marks(folder: Path, rows: Sequence[MarkRow]) -> None:
    table = mark_table(rows)
    starts = range(0, table.num_rows, _MARKS_A_GROUP)
    write_shard(folder, MARKS, (table.slice(start, _MARKS_A_GROUP) for start in starts))


def remove_orphans(folders: Folders, journals: Sequence[Journal], index: Index) -> bool:
    """Delete targets and marks whose exchange is gone; tell whether there were any.

    They are left where a damaged shard of exchanges was set aside. An exchange that is collected
    again may get another response, and what is left of the old one must not be taken for its
    targets.
    """
    changed = False
    for journal in journals:
        targets = [key for key in journal.target_extents() if key[0] not in index.known]
        marks = [m.sequence for m in journal.marks() if m.mark.exchange_id not in index.known]
        if targets or marks:
            journal.drop(targets, marks)
            changed = True
    orphans = [key for key in index.target_shards if key[0] not in index.known]
    for path in sorted(index.target_shards.paths_of(orphans)):
        _rewrite_targets(folders.targets, path, index.known)
        changed = True
    for path in shards(folders.marks):
        changed |= _rewrite_marks(folders.marks, path, index.known)
    return changed


def _rewrite_targets(folder: Path, path: Path, known: Collection[str]) -> None:
    with open_shard(path) as file:
        rows = [TargetRow(**row) for row in file.read().to_pylist()]
    kept = [row for row in rows if row.exchange_id in known]
    if kept:
        write_target_shard(folder, kept)
    _delete(path)


def _rewrite_marks(folder: Path, path: Path, known: Collection[str]) -> bool:
    with open_shard(path, mapped=False) as file:
        ids = file.read(columns=["exchange_id"]).column("exchange_id").to_pylist()
    if all(key in known for key in ids):
        return False
    kept = [row for row in mark_rows(path) if row.mark.exchange_id in known]
    if kept:
        _write_marks(folder, kept)
    _delete(path)
    return True


def _delete(path: Path) -> None:
    with write_errors(path.parent):
        path.unlink()
        fsync_folder(path.parent)
