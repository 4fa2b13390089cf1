"""From the journal into shards, and the removal of what belongs to no exchange any more."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from potstill.durable import fsync_folder, write_errors
from potstill.exchanges.index import Folders, Index, mark_rows
from potstill.exchanges.journal import Journal
from potstill.exchanges.rows import TargetKey, TargetRow, exchange_table, mark_table
from potstill.exchanges.shards import open_shard, shards, write_shard
from potstill.exchanges.target_shards import write_target_shard

_GROUP_ROWS = 4_096
_EXCHANGES_A_SHARD = 65_536
_TARGET_BYTES_A_SHARD = 128 * 1024 * 1024


def compact_journals(folders: Folders, journals: Sequence[Journal], index: Index) -> None:
    """Write every row that is in a journal only into shards, durable on return.

    Exchanges go first, so that a shard never holds targets of an unknown exchange. The journals
    stay as they are: deleting them is the caller's last step.
    """
    stored = set(index.exchanges_in_shards)
    for journal in journals:
        rows = [row for row in journal.exchanges() if row["exchange_id"] not in stored]
        rows.sort(key=lambda row: str(row["exchange_id"]))
        for start in range(0, len(rows), _EXCHANGES_A_SHARD):
            part = rows[start : start + _EXCHANGES_A_SHARD]
            write_shard(folders.exchanges, exchange_table(part), group_rows=_GROUP_ROWS)
        stored.update(row["exchange_id"] for row in rows)
    for journal in journals:
        sizes = {key: size for key, (_, size) in journal.target_extents().items()}
        fresh = sorted(
            key
            for key in sizes
            if key not in index.target_shards and index.targets_in_journals[key] is journal
        )
        for keys in _parts(fresh, sizes, _TARGET_BYTES_A_SHARD):
            write_target_shard(folders.targets, [journal.target(key) for key in keys])
    marks = [row for journal in journals for row in journal.marks()]
    if marks:
        write_shard(folders.marks, mark_table(marks), group_rows=_GROUP_ROWS)


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
    orphans = [key for key in index.target_shards.keys() if key[0] not in index.known]  # noqa: SIM118
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
    rows = mark_rows(path)
    kept = [row for row in rows if row.mark.exchange_id in known]
    if len(kept) == len(rows):
        return False
    if kept:
        write_shard(folder, mark_table(kept), group_rows=_GROUP_ROWS)
    _delete(path)
    return True


def _parts(
    keys: Sequence[TargetKey], sizes: Mapping[TargetKey, int], limit: int
) -> Iterable[list[TargetKey]]:
    """Cut keys into runs of about `limit` bytes."""
    part: list[TargetKey] = []
    held = 0
    for key in keys:
        if part and held + sizes[key] > limit:
            yield part
            part, held = [], 0
        part.append(key)
        held += sizes[key]
    if part:
        yield part


def _delete(path: Path) -> None:
    with write_errors(path.parent):
        path.unlink()
        fsync_folder(path.parent)
