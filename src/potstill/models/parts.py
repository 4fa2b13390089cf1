"""The linear maps inside a block, found by the names that architectures give them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

# (maps that read the residual stream, the map that writes to it).
_FFN = (
    (("mlp.gate_proj", "mlp.up_proj"), "mlp.down_proj"),
    (("mlp.dense_h_to_4h",), "mlp.dense_4h_to_h"),
    (("mlp.fc1",), "mlp.fc2"),
    (("mlp.c_fc",), "mlp.c_proj"),
)
_READ = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")
_ATTENTION = tuple((_READ, writer) for writer in ("self_attn.o_proj", "self_attn.dense"))
# Maps that write to the residual stream, whatever their blocks read it with.
_FFN_WRITERS = (
    *(writer for _, writer in _FFN),
    "mlp.fc_out",
    "fc2",
    "ffn.down_proj",
    "feed_forward.down_proj",
    "feed_forward.w2",
    "mlp_block.down_proj",
    # Experts that every token goes through; mixers of blocks without a feed-forward part.
    "mlp.shared_experts.down_proj",
    "shared_mlp.output_linear",
    "mixer.out_proj",
)
_ATTENTION_WRITERS = (
    "self_attn.o_proj",
    "self_attn.dense",
    "self_attn.out_proj",
    "attention.dense",
    "self_attention.dense",
    "attn.out_proj",
    "attn.c_proj",
)


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


def writer_of(block: nn.Module) -> nn.Module | None:
    """Return the feed-forward part's linear map that ends it, if known by name.

    What the block does with its output is for `potstill.shrink.writing` to say.
    """
    return _first_map(block, _FFN_WRITERS)


def attention_writer_of(block: nn.Module) -> nn.Module | None:
    """Return the linear map that ends the attention, fused or not, if known by name."""
    return _first_map(block, _ATTENTION_WRITERS)


def weight_of(writer: nn.Module) -> Tensor:
    """Return weight_DF of a linear map, as a view: what is added to it is added to the map."""
    weight: Any = writer.weight
    found: Tensor = weight.T if isinstance(writer, Conv1D) else weight
    return found


def _first_map(block: nn.Module, names: tuple[str, ...]) -> nn.Module | None:
    found = (_at(block, name) for name in names)
    return next((m for m in found if isinstance(m, nn.Linear | Conv1D)), None)


def _linear(block: nn.Module, name: str) -> nn.Linear | None:
    module = _at(block, name)
    return module if isinstance(module, nn.Linear) else None


def _at(block: nn.Module, name: str) -> Any:
    module: Any = block
    for part in name.split("."):
        module = getattr(module, part, None)
    return module
