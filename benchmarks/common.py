"""What every benchmark shares: the results file with the machine, the versions and the claims."""

from __future__ import annotations

import json
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from potstill.evaluate.machine import machine_facts

RESULTS = Path(__file__).parent / "results"


def write_results(
    name: str, claims: dict[str, dict[str, Any]], rows: list[dict[str, Any]], dtype: torch.dtype
) -> Path:
    """Write benchmarks/results/NAME.json; a claim is {value, unit, runs}."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": machine_facts(torch.device("cpu"), dtype),
        "claims": claims,
        "rows": rows,
    }
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def _commit() -> str:
    command = ["git", "-C", str(RESULTS.parent), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
