"""How large a model is: its parameters, and their bytes in memory and on disk."""

from __future__ import annotations

import re
from pathlib import Path

import torch

# Files of a Hugging Face model directory that loading it needs.
_MODEL_FILES = ("model*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")
# What tells where a model came from, and no model is loaded by.
_LINEAGE = re.compile(r"potstill.*|items\.json|.*\.cdx\.json|manifest(\.[0-9]+)?\.json")


def parameter_count(network: torch.nn.Module) -> int:
    """Return the number of parameters, tied ones counted once."""
    return sum(parameter.numel() for parameter in network.parameters())


def bytes_on_disk(directory: Path) -> int:
    """Return the bytes of a saved model: weights, config and tokenizer.

    What else lies in the directory (README, a vocabulary map, its lineage) is not counted.
    """
    return sum(path.stat().st_size for path in model_files(directory))


def model_files(directory: Path) -> list[Path]:
    """Return the files of a saved model: weights, config and tokenizer, in order of their names."""
    files = {path for pattern in _MODEL_FILES for path in directory.glob(pattern)}
    return sorted(path for path in files if not _LINEAGE.fullmatch(path.name))


def bytes_in_memory(network: torch.nn.Module) -> int:
    """Return the bytes of the parameters, tied ones counted once."""
    return sum(p.numel() * p.element_size() for p in network.parameters())
