"""What is taken from the teacher to make a student."""

from __future__ import annotations

from dataclasses import dataclass

from potstill.work.stage_records import ShrinkRecord

KeptRows = tuple[tuple[int, ...], ...]


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
    channels: KeptRows | None = None
    kv_heads: KeptRows | None = None

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

    @classmethod
    def of(cls, record: ShrinkRecord) -> Cut:
        """Return what was cut; nothing where the student was taken as it was given."""
        return cls(record.blocks or (), record.kept_tokens, record.channels, record.kv_heads)
