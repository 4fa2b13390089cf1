"""Results of a benchmark of several parts, each of which can be measured by itself."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from commits import commit
from common import RESULTS

from potstill.machine import machine_facts

# Rows of results from before there were parts.
FIRST = "exact"


def write_part(
    name: str,
    part: str,
    claims: dict[str, dict[str, Any]],
    rows: list[dict[str, Any]],
    dtype: torch.dtype,
    *,
    results: Path = RESULTS,
) -> Path:
    """Write one part's claims and rows into benchmarks/results/NAME.json; the others' stay.

    Each says of which part it is, and when, at which commit and on what machine it was measured.
    Rows without a part are those of `exact`.
    """
    path = results / f"{name}.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    before = {key: found.pop(key) for key in ("date", "commit", "machine") if key in found}
    parts = found.get("parts") or ({FIRST: before} if before else {})
    kept = [row for row in found.get("rows", []) if row.get("part", FIRST) != part]
    told = {k: c for k, c in found.get("claims", {}).items() if c.get("part", FIRST) != part}
    parts[part] = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "machine": machine_facts(torch.device("cpu"), dtype),
    }
    result = {
        **parts[part],
        "parts": parts,
        "claims": told | {key: claim | {"part": part} for key, claim in claims.items()},
        "rows": kept + [{"part": part, **row} for row in rows],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path
