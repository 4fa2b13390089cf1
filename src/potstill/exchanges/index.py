"""What is stored where: built from shards and journals when a store is first used."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from potstill.exchanges.exchange import Exchange
from potstill.exchanges.journal import Journal
from potstill.exchanges.row_groups import RowGroup, batches_of, row_groups
from potstill.exchanges.rows import Mark, MarkRow, TargetKey, response_digest, upgraded
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


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where rows of one split lie. They share it: an index of a million rows has few places."""

    split: str
    within: RowGroup | Journal


@dataclass
class Index:
    """What is stored where. A row in both a shard and a journal counts as in the shard."""

    known: dict[str, Place]
    groups: list[RowGroup]
    journals: Sequence[Journal]
    target_shards: TargetShards
    targets_in_journals: dict[TargetKey, Journal]
    marks: dict[tuple[str, str], MarkRow]
    next_sequence: int
    _tokens: dict[str, int | None] | None = field(default=None, init=False)

    @property
    def tokens(self) -> dict[str, int | None]:
        """The tokens of each response, None where they are not stored; read when first asked."""
        if self._tokens is None:
            self._tokens = _response_tokens(self)
        return self._tokens

    def add(self, exchanges: Collection[Exchange], journal: Journal) -> None:
        """Take up exchanges that a journal has stored."""
        places = {row.split: Place(row.split, journal) for row in exchanges}
        self.known.update((row.exchange_id, places[row.split]) for row in exchanges)
        if self._tokens is not None:
            self._tokens.update((row.exchange_id, response_tokens(row)) for row in exchanges)

    def counts(self) -> dict[str, int]:
        """Return how many exchanges each split has."""
        return dict(Counter(place.split for place in self.known.values()))

    def groups_of(self, split: str | None) -> list[RowGroup]:
        """Return the row groups with rows of a split, or all."""
        return [group for group in self.groups if split is None or split in group.splits]

    def ids_in(self, journal: Journal, split: str | None) -> list[str]:
        """Return the ids, of a split or all, whose row in this journal is the one that counts."""
        return [
            key
            for key, place in self.known.items()
            if place.within is journal and split in (None, place.split)
        ]

    def has(self, key: TargetKey) -> bool:
        """Tell whether targets are stored."""
        return key in self.target_shards or key in self.targets_in_journals

    def target_ids(self, scorer: str, spec: str) -> Iterator[str]:
        """Yield the exchanges with targets of a scorer in a form; some may come twice."""
        yield from self.target_shards.ids(scorer, spec)
        for key in self.targets_in_journals:
            if key[1:] == (scorer, spec):
                yield key[0]

    def answers(self, ids: Sequence[str]) -> dict[str, bytes]:
        """Return what names the stored responses of these exchanges: `response_digest`."""
        found: dict[str, bytes] = {}
        if not ids:
            return found
        places = {key: self.known[key].within for key in ids}
        there = set(places.values())
        groups = [group for group in self.groups if group in there]
        asked = pa.array(sorted(places), pa.string())
        for group, batch in batches_of(groups, ("exchange_id", *_ANSWER)):
            some = batch.filter(pc.is_in(batch.column("exchange_id"), asked)).to_pylist()
            rows = [upgraded(row, group.version) for row in some]
            found.update((row["exchange_id"], _digest(row)) for row in rows)
        for journal in self.journals:
            keys = [key for key, place in places.items() if place is journal]
            found.update((row["exchange_id"], _digest(row)) for row in journal.exchanges(keys))
        return found


def load_index(
    folders: Folders, journals: Sequence[Journal], shards_in: Callable[[Path], list[Path]]
) -> Index:
    """Return the index; `shards_in` lists a folder's shards and refuses damaged ones."""
    known: dict[str, Place] = {}
    groups: list[RowGroup] = []
    for path in shards_in(folders.exchanges):
        for group, ids, splits in row_groups(path):
            groups.append(group)
            places = {split: Place(split, group) for split in group.splits}
            known.update(zip(ids, map(places.__getitem__, splits), strict=True))
    marks = [row for path in shards_in(folders.marks) for row in mark_rows(path)]
    targets_in_journals: dict[TargetKey, Journal] = {}
    for journal in journals:
        there: dict[str, Place] = {}
        for row, _ in journal.every_exchange():
            split = row["split"]
            place = there.get(split) or there.setdefault(split, Place(split, journal))
            known.setdefault(row["exchange_id"], place)
        targets_in_journals.update((key, journal) for key in journal.target_extents())
        marks += journal.marks()
    marks.sort(key=lambda row: row.sequence)
    return Index(
        known=known,
        groups=groups,
        journals=journals,
        target_shards=TargetShards(shards_in(folders.targets)),
        targets_in_journals=targets_in_journals,
        marks={(row.mark.exchange_id, row.mark.marker): row for row in marks},
        next_sequence=marks[-1].sequence + 1 if marks else 0,
    )


def mark_rows(path: Path) -> list[MarkRow]:
    """Return the rows of a verified shard of marks."""
    rows: list[MarkRow] = []
    with open_shard(path, mapped=False) as file:
        for batch in file.iter_batches():
            ids, kept, sequences = (
                batch.column(name).to_pylist() for name in ("exchange_id", "kept", "sequence")
            )
            # Few markers give few reasons: each text is there once.
            markers, reasons = (
                batch.column(name).dictionary_encode() for name in ("marker", "reason")
            )
            said = zip(ids, _values(markers), kept, _values(reasons), strict=True)
            rows += map(MarkRow, (Mark(*mark) for mark in said), sequences)
    return rows


def response_tokens(row: Exchange) -> int | None:
    """Return the tokens of a response, None where they are not known."""
    return None if row.response_token_ids is None else len(row.response_token_ids)


def _response_tokens(index: Index) -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for _, batch in batches_of(index.groups, ("exchange_id", "response_token_ids")):
        lengths = pc.list_value_length(batch.column("response_token_ids"))
        found.update(zip(batch.column("exchange_id").to_pylist(), lengths.to_pylist(), strict=True))
    for journal in index.journals:
        for row, _ in journal.every_exchange():
            ids = row["response_token_ids"]
            found.setdefault(row["exchange_id"], None if ids is None else len(ids))
    return found


def _values(encoded: pa.DictionaryArray) -> list[str]:
    """Return a column's texts, equal ones as one object."""
    texts = encoded.dictionary.to_pylist()
    return [texts[i] for i in encoded.indices.to_pylist()]


def _digest(row: dict[str, object]) -> bytes:
    return response_digest(*(row[name] for name in _ANSWER))  # type: ignore[arg-type]
