"""A key-value cache whose rows are slots: each row has its own length, and can be refilled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import Cache
from transformers.cache_utils import CacheLayerMixin

# The view that attention reads grows in these steps, so that shapes change seldom.
_STEP = 32


class _SlotLayer(CacheLayerMixin):
    """Keys and values of one transformer layer: [slots, heads, capacity, head width]."""

    is_sliding = False

    def __init__(self, owner: SlotCache) -> None:
        super().__init__()
        self.owner = owner

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        def room(like: Tensor) -> Tensor:
            shape = (self.owner.slots, like.shape[1], self.owner.capacity, like.shape[3])
            return like.new_zeros(shape)

        self.keys, self.values = room(key_states), room(value_states)
        self.is_initialized = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Write one position of every active row; return the readable part."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        assert self.keys is not None and self.values is not None
        rows = len(key_states)
        index = (torch.arange(rows, device=key_states.device), self.owner.positions_B)
        self.keys[index[0], :, index[1]] = key_states[:, :, 0]
        self.values[index[0], :, index[1]] = value_states[:, :, 0]
        readable = self.owner.readable
        return self.keys[:rows, :, :readable], self.values[:rows, :, :readable]

    def fill(self, slots_N: Tensor, keys: Tensor, values: Tensor) -> None:
        """Put a prefilled prompt's keys and values into slots."""
        if not self.is_initialized:
            self.lazy_initialization(keys, values)
        assert self.keys is not None and self.values is not None
        self.keys[slots_N, :, : keys.shape[2]] = keys
        self.values[slots_N, :, : values.shape[2]] = values

    def move(self, source: int, slot: int) -> None:
        """Put a slot's keys and values into another."""
        assert self.keys is not None and self.values is not None
        self.keys[slot], self.values[slot] = self.keys[source], self.values[source]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.owner.readable, 0

    def get_seq_length(self) -> int:
        return self.owner.readable

    def get_max_length(self) -> int:
        return self.owner.capacity


class SlotCache(Cache):
    """Cache for decoding one token of every slot at a time.

    `positions_B` holds where the next key of each active row goes. Rows are packed: the
    active ones are the first B.
    """

    def __init__(self, layers: int, slots: int, capacity: int, device: torch.device) -> None:
        self.slots, self.capacity = slots, capacity
        self.positions_B = torch.zeros(0, dtype=torch.long, device=device)
        self.readable = 0
        super().__init__(layers=[_SlotLayer(self) for _ in range(layers)])

    def aim(self, positions_B: Tensor) -> None:
        """Set where the next keys go, and how far attention has to read."""
        self.positions_B = positions_B
        longest = int(positions_B.max()) + 1
        self.readable = min(self.capacity, -(-longest // _STEP) * _STEP)

    def fill(self, slots_N: Tensor, prefilled: Cache) -> None:
        """Copy a prefilled batch into slots, layer by layer."""
        for mine, theirs in zip(self.layers, prefilled.layers, strict=True):
            mine.fill(slots_N, theirs.keys, theirs.values)

    def move(self, source: int, slot: int) -> None:
        """Put a slot's row into another, whose own row is done with."""
        for layer in self.layers:
            layer.move(source, slot)

    def masks(self, config: Any) -> Tensor | dict[str, Tensor]:
        """Return the attention mask (true where a key is read), by layer kind if there are two.

        Attention that adds its mask to the scores (Gemma 2's) gets 0 and the least number instead.
        """
        ahead_BT = torch.arange(self.readable, device=self.positions_B.device)[None, :]
        here_B1 = self.positions_B[:, None]
        full_BT = ahead_BT <= here_B1
        window = getattr(config, "sliding_window", None)
        stated = getattr(config, "layer_types", None)
        kinds = set(stated or ["full_attention"])
        if kinds == {"full_attention"} and (stated or window is None):
            return self._read(full_BT, config)
        if window is None or not kinds <= {"full_attention", "sliding_attention"}:
            raise NotImplementedError(f"attention kinds {sorted(kinds)}")
        near_B11T = self._read(full_BT & (ahead_BT > here_B1 - window), config)
        if not stated:  # blocks that are all alike (Mistral's) take one mask
            return near_B11T
        return {"full_attention": self._read(full_BT, config), "sliding_attention": near_B11T}

    def _read(self, there_BT: Tensor, config: Any) -> Tensor:
        there_B11T = there_BT[:, None, None, :]
        if getattr(config, "_attn_implementation", None) != "eager":
            return there_B11T
        dtype = self.layers[0].keys.dtype
        added_B11T = torch.zeros(there_B11T.shape, dtype=dtype, device=there_BT.device)
        return added_B11T.masked_fill_(~there_B11T, torch.finfo(dtype).min)
