"""What is taken from the teacher to make a student."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Kept = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Cut:
    """Blocks that go, and what stays of everything else (None: all of it).

    `kept_tokens` are ids. `channels` and `kv_heads` hold, for each of the *teacher's* blocks
    (dropped ones too), the feed-forward channels and the key-value heads that stay, in rising
    order and equally many in every block; a key-value head stands for all query heads that
    read it.
    """

    blocks: tuple[int, ...] = ()
    kept_tokens: tuple[int, ...] | None = None
    channels: Kept | None = None
    kv_heads: Kept | None = None

    @property
    def widths(self) -> dict[str, int]:
        """How many channels, key-value heads and tokens stay, of those that were cut."""
        kept = {
            "ffn_channels": self.channels and self.channels[0],
            "kv_heads": self.kv_heads and self.kv_heads[0],
            "vocabulary": self.kept_tokens,
        }
        return {name: len(rows) for name, rows in kept.items() if rows is not None}

    def kept_blocks(self, count: int) -> list[int]:
        """Return the numbers of the blocks that stay, of `count`."""
        return [i for i in range(count) if i not in set(self.blocks)]

    def record(self) -> dict[str, Any]:
        """Return plain JSON values, which `from_record` reads."""
        return {
            "blocks": list(self.blocks),
            "kept_tokens": None if self.kept_tokens is None else list(self.kept_tokens),
            "channels": None if self.channels is None else [list(row) for row in self.channels],
            "kv_heads": None if self.kv_heads is None else [list(row) for row in self.kv_heads],
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Cut:
        """Return the cut that `record` wrote; other keys are passed over."""
        tokens = record.get("kept_tokens")
        return cls(
            tuple(record["blocks"]),
            None if tokens is None else tuple(tokens),
            _kept(record.get("channels")),
            _kept(record.get("kv_heads")),
        )


def _kept(rows: Sequence[Sequence[int]] | None) -> Kept | None:
    return None if rows is None else tuple(tuple(row) for row in rows)
