"""Keys of tests, the same from run to run."""

from __future__ import annotations

from blake3 import blake3

from potstill.watermark.keys import EpochKey


def key_of(name: str) -> EpochKey:
    return EpochKey("test", blake3(name.encode()).digest(length=32))
