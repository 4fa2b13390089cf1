"""What the store holds, counted, and what targets take in it, measured."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from potstill.exchanges.index import Folders, Index
from potstill.exchanges.journal import Journal
from potstill.exchanges.rows import TargetKey
from potstill.exchanges.shards import open_shard, shards


@dataclass(frozen=True)
class TargetUsage:
    """Targets of one form: rows (exchanges), positions, and the bytes they take.

    `data_bytes` is what the form itself takes, before the shard's compression; `stored_bytes`
    what lies on the disk for it, keys and footers shared out by data.
    """

    spec: str
    exchanges: int
    positions: int
    data_bytes: int
    stored_bytes: int

    @property
    def data_bytes_per_position(self) -> float:
        """Bytes a position of the form itself."""
        return self.data_bytes / max(1, self.positions)

    @property
    def stored_bytes_per_position(self) -> float:
        """Bytes a position on the disk."""
        return self.stored_bytes / max(1, self.positions)


def store_stats(index: Index, folders: Folders, *, compacted: bool) -> dict[str, Any]:
    """Return what `ExchangeStore.stats` does; the folders' files are looked at."""
    there = [folder for folder in folders.all() if folder.is_dir()]
    lengths = [tokens for tokens in index.tokens.values() if tokens is not None]
    text_alone = len(index.known) - len(lengths)
    targets = {*index.target_shards, *index.targets_in_journals}
    return {
        "exchanges": len(index.known),
        "splits": index.counts(),
        "response_tokens": sum(lengths) if lengths or not text_alone else None,
        "text_alone": text_alone,
        "targets": sum(key[0] in index.known for key in targets),
        "marks": sum(key[0] in index.known for key in index.marks),
        "shards": sum(len(shards(folder)) for folder in there),
        "compacted": compacted,
        "bytes": sum(f.stat().st_size for d in there for f in d.iterdir() if f.is_file()),
    }


def target_usage(paths: Iterable[Path], journals: Sequence[Journal]) -> list[TargetUsage]:
    """Return what each form of targets takes, in the order of their names."""
    exchanges, positions, data, stored = (Counter[str]() for _ in range(4))
    seen: set[TargetKey] = set()
    for path in paths:
        inside: Counter[str] = Counter()
        with open_shard(path) as file:
            columns = ["exchange_id", "scorer", "spec", "rows", "data"]
            for batch in file.iter_batches(columns=columns):
                lengths = pc.binary_length(batch.column("data")).to_pylist()
                keys, rows = batch.select(["exchange_id", "scorer", "spec"]), batch.column("rows")
                for key, count, length in zip(
                    keys.to_pylist(), rows.to_pylist(), lengths, strict=True
                ):
                    spec = key["spec"]
                    seen.add((key["exchange_id"], key["scorer"], spec))
                    exchanges[spec] += 1
                    positions[spec] += count
                    inside[spec] += length
        data += inside
        size, whole = path.stat().st_size, max(1, sum(inside.values()))
        stored.update({spec: round(size * part / whole) for spec, part in inside.items()})
    for journal in journals:
        for key, (count, length) in journal.target_extents().items():
            if key in seen:
                continue
            seen.add(key)
            exchanges[key[2]] += 1
            positions[key[2]] += count
            data[key[2]] += length
            stored[key[2]] += length
    return [
        TargetUsage(spec, exchanges[spec], positions[spec], data[spec], stored[spec])
        for spec in sorted(exchanges)
    ]


def target_positions(paths: Iterable[Path], journals: Sequence[Journal]) -> dict[str, int]:
    """Return how many positions have targets in each form; their values are not read."""
    positions: Counter[str] = Counter()
    seen: set[TargetKey] = set()
    for path in paths:
        with open_shard(path, mapped=False) as file:
            for batch in file.iter_batches(columns=["exchange_id", "scorer", "spec", "rows"]):
                names = ("exchange_id", "scorer", "spec", "rows")
                for key, scorer, spec, count in zip(
                    *(batch.column(name).to_pylist() for name in names), strict=True
                ):
                    seen.add((key, scorer, spec))
                    positions[spec] += count
    for journal in journals:
        for place, (count, _) in journal.target_extents().items():
            if place not in seen:
                seen.add(place)
                positions[place[2]] += count
    return dict(positions)
