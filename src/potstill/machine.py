"""What something ran on: hardware and versions of packages, never environment variables.

Importing this loads no torch; what asks about accelerators needs it.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    import torch

PACKAGES = (
    "potstill",
    "torch",
    "transformers",
    "accelerate",
    "tokenizers",
    "numpy",
    "pyarrow",
    "zeus",
)


@dataclass(frozen=True)
class Hardware:
    """A machine, without its name: all of its cores, and its memory in GB (10⁹ bytes)."""

    system: str
    cpu: str
    cores: int | None
    memory_gb: float
    accelerators: tuple[str, ...]


def hardware() -> Hardware:
    """Return what computes here."""
    import torch

    return Hardware(
        system=f"{platform.system()} {platform.machine()}",
        cpu=cpu_name(),
        cores=psutil.cpu_count(),
        memory_gb=memory_gb(),
        accelerators=tuple(map(torch.cuda.get_device_name, range(torch.cuda.device_count()))),
    )


def machine_facts(device: torch.device, compute_dtype: torch.dtype) -> dict[str, Any]:
    """Return the `machine` section of evaluation.json."""
    return {
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "memory_gb": memory_gb(),
        "accelerator": _accelerator(device),
        "packages": {"python": platform.python_version()} | versions_of(PACKAGES),
        "compute_dtype": str(compute_dtype).removeprefix("torch."),
    }


def usable_cores() -> int:
    """Return how many cores this process may use."""
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # macOS has none
        return len(process.cpu_affinity())
    return psutil.cpu_count() or 1


def gpu_of(device: torch.device) -> int | None:
    """Return the number of the GPU that a device is; None for what is no GPU."""
    if device.type != "cuda":
        return None
    import torch

    return torch.cuda.current_device() if device.index is None else device.index


def memory_gb() -> float:
    """Return the machine's memory in GB (10⁹ bytes)."""
    return round(psutil.virtual_memory().total / 1e9, 1)


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the processor's name, or its architecture where the system does not say."""
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
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
        import torch

        peak += torch.cuda.max_memory_allocated(device)
    return int(peak)


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of the packages that are installed, in the order given."""
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _resident_peak() -> int:
    # psutil knows a peak on Windows alone.
    peak = getattr(psutil.Process().memory_info(), "peak_wset", None)
    if peak is not None:
        return int(peak)
    status = Path("/proc/self/status")
    if status.is_file():
        # What getrusage says survives exec on Linux: a child reports at least its parent's peak.
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
        for line in lines:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024


def _accelerator(device: torch.device) -> str | None:
    if device.type == "cuda":
        import torch

        return torch.cuda.get_device_name(device)
    return None if device.type == "cpu" else device.type
