"""What many texts begin with, read once: its keys and values stand before each of them."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer


@dataclass(frozen=True)
class Beginning:
    """The keys and values of some tokens, [1, heads, length, head width] each, a pair a block."""

    pairs: tuple[tuple[Tensor, Tensor], ...]
    length: int

    def repeated(self, rows: int) -> dict[str, Any]:
        """Return what a transformer is given besides the ids of `rows` texts that go on after it.

        What it adds to the cache is lost with it: the beginning stays as it is.
        """
        cache = DynamicCache(
            ddp_cache_data=[
                (keys.expand(rows, -1, -1, -1), values.expand(rows, -1, -1, -1))
                for keys, values in self.pairs
            ]
        )
        return {"cache": cache, "use_cache": True}


def common_start(rows: Sequence[Sequence[int]]) -> list[int]:
    """Return the tokens that all rows begin with."""
    shared: list[int] = []
    for tokens in zip(*rows, strict=False):
        if len(set(tokens)) > 1:
            break
        shared.append(tokens[0])
    return shared


@torch.inference_mode()
def read_beginning(body: Any, ids_1T: Tensor) -> Beginning | None:
    """Return a text's keys and values, as a transformer's body makes them.

    None for a body that keeps anything else of what it has read than a pair for each block.
    """
    taken = inspect.signature(body.forward).parameters
    if "cache" not in taken and not any(p.kind is p.VAR_KEYWORD for p in taken.values()):
        return None
    cache = DynamicCache()
    body(input_ids=ids_1T, cache=cache, use_cache=True)
    length = ids_1T.shape[1]
    layers = [layer for layer in cache.layers if type(layer) is DynamicLayer]
    if not layers or len(layers) != body.config.get_text_config().num_hidden_layers:
        return None
    if any(layer.get_seq_length() != length for layer in layers):
        return None
    return Beginning(tuple((layer.keys, layer.values) for layer in layers), length)
