"""Relatives of a model that were made of its own weights: fewer blocks, other hidden units."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch

from potstill.models.load import blocks_of
from potstill.models.loaded import LoadedModel
from potstill.models.parts import feed_forward_of
from potstill.shrink.blocks import drop_blocks


def without_blocks(model: LoadedModel, dropped: Sequence[int]) -> LoadedModel:
    """Return a copy of a model without some of its blocks, which can be trained further."""
    network = copy.deepcopy(model.network)
    drop_blocks(network, dropped)
    return replace(model, network=network)


def with_channels(model: LoadedModel, kept: Sequence[int]) -> LoadedModel:
    """Return a copy whose feed-forward blocks have these hidden units, in this order."""
    network = copy.deepcopy(model.network)
    chosen = torch.as_tensor(list(kept))
    for block in blocks_of(network):
        part = feed_forward_of(block)
        assert part is not None
        for reader in part.readers:
            reader.weight = torch.nn.Parameter(reader.weight[chosen])
            reader.out_features = len(chosen)
        part.writer.weight = torch.nn.Parameter(part.writer.weight[:, chosen])
        part.writer.in_features = len(chosen)
    return replace(model, network=network)
