"""Facts about the machine."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

import potstill
from potstill.machine import (
    cpu_name,
    gpu_of,
    hardware,
    machine_facts,
    peak_memory_bytes,
    usable_cores,
    versions_of,
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
    code = "from potstill.machine import peak_memory_bytes; print(peak_memory_bytes())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < held.numel() * 4


def test_hardware_is_the_whole_machine_and_has_no_name():
    found = hardware()
    assert found.cpu == cpu_name()
    assert found.cores is not None and found.cores >= usable_cores()
    assert found.memory_gb == machine_facts(torch.device("cpu"), torch.float32)["memory_gb"]
    assert len(found.accelerators) == torch.cuda.device_count()
    assert platform.node() not in found.system


def test_only_installed_packages_have_versions():
    assert list(versions_of(["torch", "no-such-package", "numpy"])) == ["torch", "numpy"]


def test_importing_it_loads_no_torch():
    code = "import sys, potstill.machine; print('torch' in sys.modules)"
    source = str(Path(potstill.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": source},
    )
    assert done.stdout == "False\n"


def test_only_a_gpu_has_a_number(monkeypatch):
    assert gpu_of(torch.device("cpu")) is None
    assert gpu_of(torch.device("mps")) is None
    assert gpu_of(torch.device("cuda:2")) == 2
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    assert gpu_of(torch.device("cuda")) == 1
