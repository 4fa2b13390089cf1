"""When freed memory goes back to the system, and when it is kept to be used again."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

# malloc.h's numbers, and the most that glibc accepts; it would get there by itself in time.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_KEPT_BLOCK = 32 * 2**20


def release_freed() -> None:
    """Return to the system what was freed but is still held for later.

    glibc keeps freed blocks of many sizes and finds no use for most of them: over a training
    with batches of every length a process would grow to twice what it needs.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = _from_libc("malloc_trim")
    if trim is not None:
        trim(0)


@cache
def keep_freed() -> None:
    """Have small freed blocks used again in this process, not given back at once.

    Until larger ones were freed, glibc asks the system for every block above some hundred
    kilobytes and gives it back. Those page faults took up to a tenth of the loss's time (measured
    with 49,152 and 262,144 tokens in fp32).
    """
    mallopt = _from_libc("mallopt")
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BLOCK)
        mallopt(_M_TRIM_THRESHOLD, 2 * _KEPT_BLOCK)


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Have what is freed inside the block used again there, and give it back at its end.

    A training step frees and takes the same hundreds of megabytes; the page faults of asking for
    them each time took 0.12 s of a step of 2.8 (SmolLM2's 10 blocks, bf16, one core).
    """
    keep_freed()
    mallopt = _from_libc("mallopt")
    if mallopt is not None:
        mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    try:
        yield
    finally:
        if mallopt is not None:
            mallopt(_M_TRIM_THRESHOLD, 2 * _KEPT_BLOCK)
            release_freed()


def _from_libc(name: str) -> Any:
    """Return a function of glibc, None where the C library is another one."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), name, None)
