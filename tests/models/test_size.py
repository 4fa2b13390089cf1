"""How large models are."""

from __future__ import annotations

from pathlib import Path

import torch

from potstill.models.size import bytes_in_memory, bytes_on_disk, parameter_count


def test_tied_parameters_count_once():
    embedding = torch.nn.Embedding(10, 4)
    head = torch.nn.Linear(4, 10, bias=False)
    head.weight = embedding.weight
    network = torch.nn.Sequential(embedding, head)
    assert parameter_count(network) == 40
    assert bytes_in_memory(network) == 160
    assert bytes_in_memory(network.bfloat16()) == 80


def test_only_a_models_own_files_count(tmp_path: Path):
    for name, size in {
        "model-00001-of-00002.safetensors": 100,
        "model-00002-of-00002.safetensors": 50,
        "config.json": 7,
        "tokenizer.json": 20,
        "README.md": 1000,
        "potstill-source.json": 1000,
        "consolidated.safetensors": 1000,
        "optimizer.pt": 1000,
    }.items():
        (tmp_path / name).write_bytes(b"x" * size)
    assert bytes_on_disk(tmp_path) == 177
