"""Committed result files, as pages read them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

NOT_YET = "Not measured yet."


def read_results(results: Path, name: str) -> dict[str, Any] | None:
    """Return what a benchmark put on record under a name; None where it has not been run."""
    path = results / f"{name}.json"
    if not path.exists():
        return None
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found
