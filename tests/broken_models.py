"""Nano models whose files and config do not belong together: ways of breaking one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM

Break = Callable[[Path], object]


def broken(model: Path, to: Path, *breaks: Break) -> Path:
    """Return a copy of a model, broken."""
    shutil.copytree(model, to)
    for change in breaks:
        change(to)
    return to


def stated(**fields: Any) -> Break:
    """Change fields of the config."""

    def change(directory: Path) -> None:
        path = directory / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return change


def tensors(change: Callable[[dict[str, Tensor]], object]) -> Break:
    """Change the tensors of a model of one file."""

    def changed(directory: Path) -> None:
        held = load_file(directory / "model.safetensors")
        change(held)
        save_file(held, directory / "model.safetensors", metadata={"format": "pt"})

    return changed


def without(*names: str) -> Break:
    """Take tensors out of the file."""
    return tensors(lambda held: [held.pop(name) for name in names])


def value(name: str, row: int, number: float) -> Break:
    """Set the first value of a tensor's row."""
    return tensors(lambda held: held[name][row].view(-1)[:1].fill_(number))


def with_tensor(name: str, *shape: int, dtype: torch.dtype = torch.float32) -> Break:
    """Put a tensor in the file, in the place of one of the same name."""
    return tensors(lambda held: held.update({name: torch.ones(shape, dtype=dtype)}))


def written(name: str, content: str | bytes) -> Break:
    """Write a file."""
    data = content.encode() if isinstance(content, str) else content
    return lambda directory: (directory / name).write_bytes(data)


def cut_off(name: str = "model.safetensors") -> Break:
    """Leave the first half of a file."""

    def cut(directory: Path) -> None:
        data = (directory / name).read_bytes()
        (directory / name).write_bytes(data[: len(data) // 2])

    return cut


def in_shards(directory: Path) -> None:
    """Save the weights again in many files."""
    network = AutoModelForCausalLM.from_pretrained(directory)
    (directory / "model.safetensors").unlink()
    network.save_pretrained(directory, max_shard_size="100KB")


def without_second_shard(directory: Path) -> None:
    """Take one of many files away."""
    sorted(directory.glob("*.safetensors"))[1].unlink()


def cut_second_shard(directory: Path) -> None:
    """Leave the first half of one of many files."""
    cut_off(sorted(directory.glob("*.safetensors"))[1].name)(directory)
