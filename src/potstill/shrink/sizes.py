"""How many parameters a cut leaves, by arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from potstill.errors import PotstillError
from potstill.models.load import blocks_of
from potstill.shrink.cut import Cut
from potstill.shrink.width import attentions, feed_forwards, possible_kv_heads


@dataclass(frozen=True)
class Sizes:
    """A network's parameters, tied ones counted once, by what can be cut.

    `block` is a block without its channels and key-value heads, one number a block. A `channel`
    is one feed-forward channel of one block, a `kv_head` one key-value head with the query
    heads that read it, a `token` one row of embedding and head; 0 where none can be cut.
    `channels`, `kv_heads` and `tokens` are how many there are, and `possible_kv_heads` the
    smaller numbers that the architecture allows.
    """

    rest: int
    block: tuple[int, ...]
    channel: int
    channels: int
    kv_head: int
    kv_heads: int
    possible_kv_heads: tuple[int, ...]
    token: int
    tokens: int

    @property
    def whole(self) -> int:
        """The whole network's parameters."""
        return self.of(Cut())

    def of(self, cut: Cut) -> int:
        """Return how many parameters are left after a cut."""
        left = self.widths(cut)
        width = left["ffn_channels"] * self.channel + left["kv_heads"] * self.kv_head
        blocks = sum(self.block[i] + width for i in cut.kept_blocks(len(self.block)))
        return self.rest + blocks + left["vocabulary"] * self.token

    def widths(self, cut: Cut) -> dict[str, int]:
        """Return how many channels, key-value heads and tokens are left after a cut."""
        whole = {
            "ffn_channels": self.channels,
            "kv_heads": self.kv_heads,
            "vocabulary": self.tokens,
        }
        return whole | cut.widths


def sizes_of(network: Any) -> Sizes:
    """Return a network's sizes."""
    blocks = [sum(p.numel() for p in block.parameters()) for block in blocks_of(network)]
    channel, channels = _channel(network)
    kv_head, kv_heads, possible = _kv_head(network)
    embedding, head = network.get_input_embeddings(), network.get_output_embeddings()
    tokens = embedding.weight.shape[0]
    token = sum(
        p.numel() // tokens
        for p in {*embedding.parameters(), *head.parameters()}
        if p.shape[0] == tokens
    )
    whole = sum(p.numel() for p in network.parameters())
    width = channel * channels + kv_head * kv_heads
    return Sizes(
        rest=whole - sum(blocks) - token * tokens,
        block=tuple(size - width for size in blocks),
        channel=channel,
        channels=channels,
        kv_head=kv_head,
        kv_heads=kv_heads,
        possible_kv_heads=possible,
        token=token,
        tokens=tokens,
    )


def _channel(network: Any) -> tuple[int, int]:
    """Return the parameters of one channel of one block, and how many channels there are."""
    try:
        part = feed_forwards(network)[0]
    except PotstillError:
        return 0, 0
    readers = sum(r.in_features + (r.bias is not None) for r in part.readers)
    return readers + part.writer.out_features, part.channels


def _kv_head(network: Any) -> tuple[int, int, tuple[int, ...]]:
    """Return the parameters of one key-value head with its query heads, the heads, and fewer."""
    try:
        part = attentions(network)[0]
    except PotstillError:
        return 0, 0, ()
    rows = {part.key: part.head_dim, part.value: part.head_dim, part.query: part.group_width}
    reading = sum(n * (m.in_features + (m.bias is not None)) for m, n in rows.items())
    size = reading + part.group_width * part.writer.out_features
    return size, part.kv_heads, tuple(possible_kv_heads(network))
