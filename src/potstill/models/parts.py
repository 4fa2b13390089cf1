"""The linear maps inside a block, found by the names that architectures give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

# (maps that read the residual stream, the map that writes to it).
_FFN = (
    (("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj"),
    (("mlp.dense_h_to_4h",), "mlp.dense_4h_to_h"),
    (("mlp.fc1",), "mlp.fc2"),
    (("mlp.c_fc",), "mlp.c_proj"),
)
_READ = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_ATTENTION = tuple((_READ, writer) for writer in ("self_attn.o_proj", "self_attn.dense"))


@dataclass(frozen=True)
class FeedForward:
    """Maps from the residual stream to the channels, and the one from the channels back."""

    readers: tuple[nn.Linear, ...]
    writer: nn.Linear

    @property
    def channels(self) -> int:
        """How many channels there are."""
        return self.writer.in_features


@dataclass(frozen=True)
class Attention:
    """Separate query, key and value maps, and the one that writes the heads' output.

    Query head h reads key-value head h // group, as transformers' `repeat_kv` does.
    """

    module: nn.Module
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    writer: nn.Linear
    head_dim: int

    @property
    def kv_heads(self) -> int:
        """How many key-value heads there are."""
        return self.key.out_features // self.head_dim

    @property
    def group(self) -> int:
        """Query heads that read one key-value head."""
        return self.query.out_features // self.key.out_features

    @property
    def group_width(self) -> int:
        """Columns of the writer that belong to one key-value head."""
        return self.group * self.head_dim


def feed_forward_of(block: nn.Module) -> FeedForward | None:
    """Return a block's feed-forward part, None where it is built in another way."""
    for names, name in _FFN:
        readers = [_linear(block, n) for n in names]
        writer = _linear(block, name)
        if writer is None or any(
            r is None or r.out_features != writer.in_features for r in readers
        ):
            continue
        return FeedForward(tuple(r for r in readers if r is not None), writer)
    return None


def attention_of(block: nn.Module) -> Attention | None:
    """Return a block's attention, None where it is built in another way (fused maps, say)."""
    for names, name in _ATTENTION:
        query, key, value = (_linear(block, n) for n in names)
        writer = _linear(block, name)
        if query is None or key is None or value is None or writer is None:
            continue
        module: Any = _at(block, "self_attn")
        head_dim = getattr(module, "head_dim", None)
        fits = (
            isinstance(head_dim, int)
            and key.out_features == value.out_features
            and query.out_features == writer.in_features
            and key.out_features % head_dim == 0
            and query.out_features % key.out_features == 0
        )
        if fits:
            assert isinstance(head_dim, int)
            return Attention(module, query, key, value, writer, head_dim)
    return None


def writer_of(block: nn.Module) -> nn.Linear | None:
    """Return the linear map whose output the block adds to its residual stream, if known by name.

    Whether it really adds it unchanged is for `blocks.writes_plainly` to say.
    """
    return next((w for _, name in _FFN if (w := _linear(block, name)) is not None), None)


def _linear(block: nn.Module, name: str) -> nn.Linear | None:
    module = _at(block, name)
    return module if isinstance(module, nn.Linear) else None


def _at(block: nn.Module, name: str) -> Any:
    module: Any = block
    for part in name.split("."):
        module = getattr(module, part, None)
    return module
