"""The cache of slots against plain lists: what a row reads is what was written into it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import DynamicCache

from potstill.models.slots import SlotCache

LAYERS, HEADS, WIDTH, CAPACITY = 2, 2, 3, 80
CPU = torch.device("cpu")


class Written:
    """A cache beside what each slot should hold: one list of keys a slot and layer."""

    def __init__(self, slots: int) -> None:
        self.cache = SlotCache(LAYERS, slots, CAPACITY, CPU)
        self.rows: list[list[list[Tensor]]] = [[[] for _ in range(LAYERS)] for _ in range(slots)]
        self.seed = 0

    def states(self, rows: int, length: int) -> Tensor:
        self.seed += 1
        generator = torch.Generator().manual_seed(self.seed)
        return torch.randn(rows, HEADS, length, WIDTH, generator=generator)

    def fill(self, slots: list[int], lengths: list[int]) -> None:
        """Prompts of different lengths, padded on the right as decoding reads them."""
        prefilled = DynamicCache()
        for layer in range(LAYERS):
            keys = self.states(len(slots), max(lengths))
            prefilled.update(keys, -keys, layer)
            for n, (slot, length) in enumerate(zip(slots, lengths, strict=True)):
                self.rows[slot][layer] = list(keys[n, :, :length].unbind(1))
        self.cache.fill(torch.tensor(slots), prefilled)

    def step(self) -> None:
        """One more position of every row, each at its own end; look at what can be read then."""
        positions = torch.tensor([len(row[0]) for row in self.rows])
        self.cache.aim(positions)
        for layer in range(LAYERS):
            keys = self.states(len(self.rows), 1)
            for row, key in zip(self.rows, keys, strict=True):
                row[layer].append(key[:, 0])
            read, values = self.cache.update(keys, -keys, layer)
            self.require(layer, read)
            assert torch.equal(values, -read)

    def require(self, layer: int, read: Tensor) -> None:
        mask = self.cache.masks(SimpleNamespace())
        assert isinstance(mask, Tensor)
        for b, row in enumerate(self.rows):
            there = mask[b, 0, 0]
            assert int(there.sum()) == len(row[layer])
            assert there[: len(row[layer])].all()
            assert torch.equal(read[b][:, there], torch.stack(row[layer], dim=1))

    def move(self, source: int, slot: int) -> None:
        self.cache.move(source, slot)
        self.rows[slot] = [list(layer) for layer in self.rows[source]]


@given(data=st.data())
def test_rows_read_what_was_written_into_their_slot(data: st.DataObject) -> None:
    slots = data.draw(st.integers(1, 4))
    written = Written(slots)
    written.fill(list(range(slots)), [data.draw(st.integers(1, 12)) for _ in range(slots)])
    for _ in range(data.draw(st.integers(1, 10))):
        what = data.draw(st.sampled_from(["step", "step", "refill", "move"]))
        rows = len(written.rows)
        if what == "refill":
            chosen = data.draw(
                st.lists(st.integers(0, rows - 1), min_size=1, max_size=rows, unique=True)
            )
            written.fill(chosen, [data.draw(st.integers(1, 40)) for _ in chosen])
        elif what == "move":
            written.move(*(data.draw(st.integers(0, rows - 1)) for _ in range(2)))
        written.step()


def test_what_can_be_read_grows_in_steps_up_to_the_capacity() -> None:
    cache = SlotCache(1, 2, 70, CPU)
    seen = []
    for longest in (0, 31, 32, 63, 64, 69):
        cache.aim(torch.tensor([0, longest]))
        assert cache.layers[0].get_seq_length() == cache.readable > longest
        assert cache.layers[0].get_mask_sizes(1) == (cache.readable, 0)
        seen.append(cache.readable)
    assert seen == [32, 32, 64, 64, 70, 70]
    assert cache.layers[0].get_max_length() == 70


def test_a_sliding_layer_sees_its_window_alone() -> None:
    cache = SlotCache(1, 2, 64, CPU)
    cache.aim(torch.tensor([3, 20]))
    config = SimpleNamespace(layer_types=["full_attention", "sliding_attention"], sliding_window=8)
    masks = cache.masks(config)
    assert isinstance(masks, dict)
    near = masks["sliding_attention"][:, 0, 0]
    assert torch.nonzero(near[0]).flatten().tolist() == [0, 1, 2, 3]
    assert torch.nonzero(near[1]).flatten().tolist() == list(range(13, 21))
    assert torch.nonzero(masks["full_attention"][1, 0, 0]).flatten().tolist() == list(range(21))


def test_attention_of_another_kind_is_not_guessed() -> None:
    cache = SlotCache(1, 1, 64, CPU)
    cache.aim(torch.tensor([3]))
    for config in (
        SimpleNamespace(layer_types=["linear_attention", "full_attention"], sliding_window=8),
        SimpleNamespace(layer_types=["sliding_attention"], sliding_window=None),
    ):
        with pytest.raises(NotImplementedError, match="attention kinds"):
            cache.masks(config)
