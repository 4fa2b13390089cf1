"""Which device computes, and in which precision."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from statistics import median

import torch

from potstill.errors import PotstillError

# bf16 has to be clearly faster than fp32 before its rounding is worth it.
_WORTHWHILE_SPEEDUP = 1.5
# What PyTorch calls the one setting under which oneDNN, and not MKL, multiplies in fp32.
_ONEDNN = "bf16"


def resolve_device(name: str) -> torch.device:
    """Return the device that `name` stands for; `auto` is CUDA, then MPS, then the CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        if torch.backends.mps.is_available():
            return torch.device("mps")
        return torch.device("cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise PotstillError(
            f"device `{name}` is not known; use auto, cpu, cuda, cuda:N or mps"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise PotstillError("no CUDA device is usable here; set device to auto or cpu")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise PotstillError("no MPS device is usable here; set device to auto or cpu")
    return device


def resolve_dtype(precision: str, device: torch.device) -> torch.dtype:
    """Return the dtype of matrix products for `auto`, `fp32` or `bf16` on this device."""
    if precision == "fp32":
        return torch.float32
    if precision == "bf16":
        return torch.bfloat16
    if device.type == "cuda":
        return torch.bfloat16
    if device.type == "cpu" and _cpu_bf16_speedup() >= _WORTHWHILE_SPEEDUP:
        return torch.bfloat16
    return torch.float32


@lru_cache(maxsize=1)
def _cpu_bf16_speedup() -> float:
    """Return how much faster one bf16 product is than the same in fp32, measured once."""

    def seconds(dtype: torch.dtype) -> float:
        left, right = torch.randn(512, 1024).to(dtype), torch.randn(1024, 1024).to(dtype)
        left @ right
        times = []
        for _ in range(5):
            start = time.perf_counter()
            left @ right
            times.append(time.perf_counter() - start)
        return median(times)

    return seconds(torch.float32) / seconds(torch.bfloat16)


@contextmanager
def fast_products(*, bf16: bool = False) -> Iterator[None]:
    """Have a CPU multiply fp32 matrices by the faster of torch's two libraries.

    That adds up in another order: results are equal but for fp32's rounding. With `bf16` the
    matrices hold bf16 values, and are multiplied as such and added up in fp32: exact too, and three
    times as fast where the CPU computes in bf16.
    """
    settings = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before = settings.fp32_precision
    if bf16 or multiplies_fp32_by_onednn():
        settings.fp32_precision = _ONEDNN
    try:
        yield
    finally:
        settings.fp32_precision = before


@lru_cache(maxsize=1)
def multiplies_fp32_by_onednn() -> bool:
    """Return whether `fast_products` changes anything of fp32 here.

    MKL takes AVX2 on other makers' CPUs, also where they have AVX-512, and oneDNN takes that. With
    it and the rest of what changed a training step in fp32 takes little more than half of its time
    (benchmarks/results/train.json). Which one it is follows from the CPU alone and not from a
    clock, so that a run goes on in the same arithmetic.
    """
    found = torch.cpu.get_capabilities()
    fits = found.get("avx512_f") and not found.get("amx_tile")
    maker = str(found.get("cpu_name", ""))
    return bool(fits) and maker.startswith("AMD") and _onednn_is_exact()


def _onednn_is_exact() -> bool:
    """Return whether products by way of oneDNN are those of fp32, and no lesser ones.

    The only setting that leads to oneDNN allows it to take bf16, which it does where a CPU has
    tiles for that, and not where there are vectors alone.
    """
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(256, 256, generator=generator) for _ in range(2))
    exact = left.double() @ right.double()
    settings = torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    before, settings.fp32_precision = settings.fp32_precision, _ONEDNN
    try:
        found = left @ right
    finally:
        settings.fp32_precision = before
    # bf16 would be 0.003 off.
    return float((found - exact).norm() / exact.norm()) < 1e-5
