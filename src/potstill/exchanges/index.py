"""What is stored where: built from shards and journals when a store is first used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from potstill.exchanges.exchange import Exchange
from potstill.exchanges.journal import Journal
from potstill.exchanges.rows import (
    Mark,
    MarkRow,
    TargetKey,
    require_known_version,
    response_digest,
    schema_version,
    upgraded,
)
from potstill.exchanges.shards import open_shard
from potstill.exchanges.target_shards import TargetShards

# The columns that tell one response from another.
_ANSWER = ("response_token_ids", "response", "tool_calls")


@dataclass(frozen=True)
class Folders:
    """The folders of the three tables."""

    exchanges: Path
    targets: Path
    marks: Path

    @classmethod
    def under(cls, root: Path) -> Folders:
        """Return the folders of the run directory `root`."""
        return cls(root / "exchanges", root / "targets", root / "marks")

    def all(self) -> tuple[Path, Path, Path]:
        """Return all three."""
        return (self.exchanges, self.targets, self.marks)


@dataclass(frozen=True)
class Known:
    """What has to be in memory of a stored exchange: how long its response is, and which."""

    split: str
    tokens: int | None
    digest: bytes


@dataclass
class Index:
    """What is stored where. A row in both a shard and a journal counts as in the shard."""

    known: dict[str, Known]
    exchanges_in_shards: set[str]
    target_shards: TargetShards
    targets_in_journals: dict[TargetKey, Journal]
    marks: dict[tuple[str, str], MarkRow]
    next_sequence: int


def known_of(exchange: Exchange) -> Known:
    """Return what the index keeps of an exchange."""
    return _known(
        exchange.split, exchange.response_token_ids, exchange.response, exchange.tool_calls
    )


def load_index(
    folders: Folders, journals: Sequence[Journal], shards_in: Callable[[Path], list[Path]]
) -> Index:
    """Return the index; `shards_in` lists a folder's shards and refuses damaged ones."""
    known: dict[str, Known] = {}
    for path in shards_in(folders.exchanges):
        rows = exchange_rows(path, ["exchange_id", "split", *_ANSWER])
        known.update((row["exchange_id"], _known_row(row)) for row in rows)
    in_shards = set(known)
    marks = [row for path in shards_in(folders.marks) for row in mark_rows(path)]
    targets_in_journals: dict[TargetKey, Journal] = {}
    for journal in journals:
        for row in journal.exchanges():
            known.setdefault(row["exchange_id"], _known_row(row))
        targets_in_journals.update((key, journal) for key in journal.target_extents())
        marks += journal.marks()
    marks.sort(key=lambda row: row.sequence)
    return Index(
        known=known,
        exchanges_in_shards=in_shards,
        target_shards=TargetShards(shards_in(folders.targets)),
        targets_in_journals=targets_in_journals,
        marks={(row.mark.exchange_id, row.mark.marker): row for row in marks},
        next_sequence=marks[-1].sequence + 1 if marks else 0,
    )


def exchange_rows(
    path: Path, columns: Sequence[str] | None = None, *, split: str | None = None
) -> list[dict[str, Any]]:
    """Return the rows of a verified shard of exchanges in today's form: all columns or some, of
    all splits or one.

    Raises PotstillError for a shard of a later schema.
    """
    with open_shard(path) as file:
        version = schema_version(file.schema_arrow.metadata)
        require_known_version(version, f"the shard {path.parent.name}/{path.name}")
        table = file.read(columns=columns)
    if split is not None:
        table = table.filter(pc.equal(table.column("split"), split))
    rows = table.to_pylist()
    return [upgraded(row, version) for row in rows]


def mark_rows(path: Path) -> list[MarkRow]:
    """Return the rows of a verified shard of marks."""
    with open_shard(path) as file:
        rows = file.read().to_pylist()
    return [
        MarkRow(Mark(r["exchange_id"], r["marker"], r["kept"], r["reason"]), r["sequence"])
        for r in rows
    ]


def _known_row(row: dict[str, Any]) -> Known:
    return _known(row["split"], *(row[name] for name in _ANSWER))


def _known(split: str, ids: Sequence[int] | None, response: str, calls: str | None) -> Known:
    return Known(
        split=split,
        tokens=None if ids is None else len(ids),
        digest=response_digest(ids, response, calls),
    )
