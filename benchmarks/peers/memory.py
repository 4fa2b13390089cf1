"""How much memory a process holds, and has held at most.

`resource.getrusage` is no use for it: on Linux its peak survives exec, so that a child reports at
least what its parent had held (measured: 1.48 GB for a process of 13 MB).
"""

from __future__ import annotations

from pathlib import Path

import torch


def peak_bytes(device: torch.device) -> int:
    """Return the most that was held: on a GPU by its tensors, else by the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return _status("VmHWM")


def held_bytes(device: torch.device) -> int:
    """Return what is held now."""
    if device.type == "cuda":
        return torch.cuda.memory_allocated(device)
    return _status("VmRSS")


def forget_peak(device: torch.device) -> None:
    """Bring the peak down to what is held now."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        return
    # proc(5): 5 resets the peak of the resident set.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def models_bytes(student: torch.nn.Module, teacher: torch.nn.Module) -> int:
    """Return what no trainer can do without: both models' weights, and the student's two moments.

    Each weight counts once, in the dtype that it is held in.
    """
    own, asked = (
        sum(p.numel() * p.element_size() for p in model.parameters())
        for model in (student, teacher)
    )
    return 3 * own + asked


def _status(key: str) -> int:
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key + ":"))
