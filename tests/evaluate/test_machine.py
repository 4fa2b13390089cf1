"""Facts about machine and models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import torch

from potstill.evaluate.machine import (
    bytes_in_memory,
    bytes_on_disk,
    cpu_name,
    machine_facts,
    parameter_count,
    peak_memory_bytes,
    usable_cores,
)


def test_facts_hold_versions_and_never_the_environment(monkeypatch):
    monkeypatch.setenv("POTSTILL_TEST_SECRET", "hunter2-not-to-be-written")
    facts = machine_facts(torch.device("cpu"), torch.bfloat16)
    assert facts["packages"]["torch"] == torch.__version__
    assert facts["compute_dtype"] == "bfloat16"
    assert facts["accelerator"] is None
    assert facts["cores"] == usable_cores() >= 1
    assert facts["memory_gb"] > 0
    assert "hunter2" not in json.dumps(facts)


def test_cpu_name_is_read_or_replaced(tmp_path: Path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor\t: 0\nmodel name\t: Example CPU 9000\nmodel name\t: other\n")
    assert cpu_name(info) == "Example CPU 9000"
    assert cpu_name(tmp_path / "missing")


def test_peak_memory_grows_with_what_is_held():
    before = peak_memory_bytes()
    held = torch.ones(60_000_000)
    assert peak_memory_bytes() >= before
    assert peak_memory_bytes() > held.numel() * 4
    assert 10_000_000 < before < 10**13


def test_peak_memory_is_the_process_own_and_not_its_parents():
    held = torch.ones(300_000_000)
    code = "from potstill.evaluate.machine import peak_memory_bytes; print(peak_memory_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < held.numel() * 4


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
