"""Where a zoo keeps what a suspect's tests came to, and their raw logs."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

from plans import Asked

from potstill.canonical import canonical_json, digest_of_bytes
from potstill.durable import write_bytes


def file_of(name: str) -> str:
    """Return the name of the files of a suspect."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower())


def found_in(folder: Path, name: str) -> Path:
    """Return where a suspect's row lies."""
    return folder / "found" / f"{file_of(name)}.json"


def log_of(folder: Path, name: str, test: str) -> Path:
    """Return where the raw log of a suspect's test lies."""
    return folder / "raw" / file_of(name) / f"{test.replace(' ', '-')}.jsonl"


def kept(folder: Path, name: str, test: str, asked: Asked, started: float) -> dict[str, Any]:
    """Write a test's raw log, and return its row; `started` is the clock's value before it."""
    lines = [canonical_json(item.model_dump(mode="json")) for item in asked.items]
    raw, path = b"\n".join(lines) + b"\n", log_of(folder, name, test)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, raw)
    return {
        "finding": asked.finding.model_dump(mode="json"),
        "raw": digest_of_bytes(raw, 32),
        "items": len(asked.items),
        "seconds": round(time.perf_counter() - started, 1),
    }
