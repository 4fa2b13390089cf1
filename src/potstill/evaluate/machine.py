"""What the measurements ran on: hardware and package versions, never environment variables."""

from __future__ import annotations

import os
import platform
import resource
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

PACKAGES = ("potstill", "torch", "transformers", "accelerate", "tokenizers", "numpy", "pyarrow")
# Files of a Hugging Face model directory that loading it needs.
_MODEL_FILES = ("model*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")


def machine_facts(device: torch.device, compute_dtype: torch.dtype) -> dict[str, Any]:
    """Return the `machine` section of evaluation.json."""
    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "accelerator": _accelerator(device),
        "packages": {"python": platform.python_version()} | _versions(),
        "compute_dtype": str(compute_dtype).removeprefix("torch."),
    }


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name, or its architecture where the system does not say."""
    try:
        for line in cpuinfo.read_text().splitlines():
            key, _, name = line.partition(":")
            if key.strip().lower() in ("model name", "hardware") and name.strip():
                return name.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def peak_memory_bytes(device: torch.device | None = None) -> int:
    """Return the most memory this process has held: resident, plus the accelerator's own."""
    peak = _resident_peak()
    if device is not None and device.type == "cuda":
        peak += torch.cuda.max_memory_allocated(device)
    return int(peak)


def _resident_peak() -> int:
    status = Path("/proc/self/status")
    if status.is_file():
        # What getrusage says survives exec on Linux: a child reports at least its parent's peak.
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def parameter_count(network: torch.nn.Module) -> int:
    """Return the number of parameters, tied ones counted once."""
    return sum(parameter.numel() for parameter in network.parameters())


def bytes_on_disk(directory: Path) -> int:
    """Return the bytes of a saved model: weights, config and tokenizer.

    What else lies in the directory (README, a vocabulary map) is not counted.
    """
    files = {path for pattern in _MODEL_FILES for path in directory.glob(pattern)}
    return sum(path.stat().st_size for path in files if not path.name.startswith("potstill"))


def bytes_in_memory(network: torch.nn.Module) -> int:
    """Return the bytes of the parameters, tied ones counted once."""
    return sum(p.numel() * p.element_size() for p in network.parameters())


def _accelerator(device: torch.device) -> str | None:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return None if device.type == "cpu" else device.type


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
