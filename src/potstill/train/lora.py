"""Low-rank adapters on the student's blocks (LoRA, DoRA), through peft.

Adapters sit inside the network, where its linear layers were: what trains, measures and saves a
network meets the same one as ever. Merged, it is again what it was, with other weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn

from potstill.errors import PotstillError
from potstill.models.load import blocks_of
from potstill.recipe import LoraConfig


@contextmanager
def adapted(
    network: Any, config: LoraConfig | None, *, frozen_blocks: int = 0, seed: int = 0
) -> Iterator[None]:
    """Let adapters be all that learns inside the block, and merge them into the weights after it.

    The first `frozen_blocks` blocks get none. An adapter changes nothing before it has learned;
    `seed` decides its first weights. Without a config every weight learns, as it would outside.
    Raises PotstillError where peft is missing, or no layer is of the names that are given.
    """
    if config is None:
        yield
        return
    trained = [p for p in network.parameters() if p.requires_grad]
    tuner = _with_adapters(network, config, frozen_blocks, seed)
    try:
        yield
    finally:
        tuner.merge_and_unload()
        for parameter in trained:
            parameter.requires_grad_(True)


def adapter_weights(network: Any, config: LoraConfig, *, frozen_blocks: int = 0) -> int:
    """Return how many weights the adapters' matrices have (A and B; DoRA's lengths left out).

    `network` is one without adapters.
    """
    names = _layers(network, config, frozen_blocks)
    return config.rank * sum(sum(network.get_submodule(name).weight.shape) for name in names)


def _with_adapters(network: Any, config: LoraConfig, frozen_blocks: int, seed: int) -> Any:
    """Put adapters into the network and return peft's object, which can merge them."""
    try:
        import peft
    except ImportError as error:
        raise PotstillError(
            'train.lora needs the package peft; run: pip install "potstill[lora]"'
        ) from error
    settings = peft.LoraConfig(
        r=config.rank,
        # peft divides it by the rank, whatever its type says.
        lora_alpha=cast(int, config.alpha),
        lora_dropout=config.dropout,
        use_dora=config.dora,
        target_modules=_layers(network, config, frozen_blocks),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return peft.LoraModel(network, settings, "default")


def _layers(network: Any, config: LoraConfig, frozen_blocks: int) -> list[str]:
    """Return the full names of the layers that get an adapter."""
    from transformers.pytorch_utils import Conv1D

    blocks = blocks_of(network)
    # That no block is left is for the one to say who freezes them.
    chosen = blocks[frozen_blocks:] or blocks
    inside = {id(module) for block in chosen for module in block.modules()}
    linear = [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and id(module) in inside
    ]
    known = sorted({name.rpartition(".")[2] for name in linear})
    wanted = known if config.targets == "all-linear" else config.targets
    missing = [name for name in wanted if name not in known]
    if missing or not linear:
        raise PotstillError(
            f"train.lora.targets is {_spelt(wanted)}, but the linear layers in the student's "
            f"blocks are {_spelt(known) or 'none'}; name some of these"
        )
    return [name for name in linear if name.rpartition(".")[2] in wanted]


def _spelt(names: Any) -> str:
    return ", ".join(names)
