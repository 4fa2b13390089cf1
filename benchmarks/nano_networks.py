"""Nano networks of the ancestry benchmark: the teacher, others of its shape, text, training."""

from __future__ import annotations

import copy
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

sys.path += [str(Path(__file__).parents[1] / "tests" / "nano")]

import nano_models
import nano_text

from potstill.models.load import load
from potstill.models.loaded import LoadedModel

SEED = 20_261_130


@lru_cache
def _teacher() -> LoadedModel:
    return load(str(_NANO), precision="fp32", trainable=True)


def nano(seed: int | None = None) -> LoadedModel:
    """Return the nano teacher, or a network of its shape with weights drawn anew."""
    found = _teacher()
    if seed is None:
        return found
    torch.manual_seed(SEED + seed)
    return replace(found, network=type(found.network)(found.network.config).eval())


def text_rows(count: int, seed: int) -> list[torch.Tensor]:
    tokenizer = nano().tokenizer
    pairs = nano_text.exchanges(count, seed)
    return [torch.tensor(nano_models.chat_ids(tokenizer, *pair)) for pair in pairs]


def taught(
    model: LoadedModel, rows: Sequence[torch.Tensor], steps: int, rate: float
) -> LoadedModel:
    """Return a copy of a model after some steps of cross-entropy."""
    network = copy.deepcopy(model.network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=rate)
    for step in range(steps):
        batch = [rows[(step * 12 + i) % len(rows)] for i in range(12)]
        pad = torch.nn.utils.rnn.pad_sequence
        ids_BT = pad(batch, batch_first=True)
        label_BT = pad(batch, batch_first=True, padding_value=-100)
        network(input_ids=ids_BT, labels=label_BT).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return replace(model, network=network.eval())


_NANO = nano_models.build("llama", Path(tempfile.gettempdir()) / "potstill-nano-llama")
