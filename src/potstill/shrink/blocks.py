"""A transformer's blocks: drop some."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from potstill.errors import PotstillError
from potstill.models.load import blocks_of

# Lists in configs that name layers by number.
_INDEX_LISTS = (
    "attn_layer_indices",
    "cross_attention_layers",
    "full_attn_idxs",
    "mlp_only_layers",
    "moe_layers",
)
# What blocks and their parts call their number: in a cache, mostly.
_NUMBERS = {"layer_idx", "layer_id"}
# Sizes that some architectures give layer by layer.
_SIZES = ("intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim")


def drop_blocks(network: Any, dropped: Sequence[int]) -> None:
    """Remove blocks in place, leaving an ordinary model of fewer layers.

    Every list in the config that has one entry a layer is sliced, and the layers are numbered
    anew. A list that merely happens to be as long (ids of tokens, say) is left alone. Raises
    PotstillError where a block does not exist or none would be left.
    """
    blocks = blocks_of(network)
    count = len(blocks)
    if any(not 0 <= b < count for b in dropped) or len(set(dropped)) != len(dropped):
        raise PotstillError(
            f"shrink.blocks must name different blocks from 0 to {count - 1}, not {list(dropped)}"
        )
    kept = [i for i in range(count) if i not in set(dropped)]
    if not kept:
        raise PotstillError("shrink would drop every block; keep at least one")
    config = network.config.get_text_config()
    for name, value in list(vars(config).items()):
        if isinstance(value, list) and name in _INDEX_LISTS:
            setattr(config, name, [kept.index(i) for i in value if i in kept])
        elif isinstance(value, list) and len(value) == count and _one_a_layer(name):
            setattr(config, name, [value[i] for i in kept])
    config.num_hidden_layers = len(kept)
    remaining = [blocks[i] for i in kept]
    del blocks[:]
    for index, block in enumerate(remaining):
        blocks.append(block)
        numbered: Any
        for numbered in block.modules():
            for name in _NUMBERS & set(vars(numbered)):
                setattr(numbered, name, index)


def _one_a_layer(name: str) -> bool:
    """Return whether a list of a config under this name has one entry a layer."""
    return name in _SIZES or any(word in name for word in ("layer", "block", "pattern"))
