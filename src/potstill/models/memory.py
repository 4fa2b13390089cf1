"""Give freed memory back to the system."""

from __future__ import annotations

import ctypes
import gc
import sys
from functools import cache
from typing import Any

import torch


def release_freed() -> None:
    """Return to the system what was freed but is still held for later.

    glibc keeps freed blocks of many sizes and finds no use for most of them: over a training
    with batches of every length a process would grow to twice what it needs.
    """
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    trim = _malloc_trim()
    if trim is not None:
        trim(0)


@cache
def _malloc_trim() -> Any:
    """Return glibc's malloc_trim, None where the C library is another one."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)
