"""What every benchmark shares: the results file with the machine, the versions and the claims."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
from commits import commit

from potstill.machine import machine_facts, versions_of

RESULTS = Path(__file__).parent / "results"
# Whom potstill is measured against, and what they run on.
PEERS = ("trl", "liger-kernel", "orda-kernel", "triton", "datasets", "textseal")


def write_results(
    name: str,
    claims: dict[str, dict[str, Any]],
    rows: list[dict[str, Any]],
    dtype: torch.dtype,
    *,
    device: torch.device = torch.device("cpu"),
    peers: bool = False,
    ran_at: str = "",
) -> Path:
    """Write benchmarks/results/NAME.json; a claim is {value, unit, runs}.

    `peers` adds the versions of the packages that potstill was measured against; `ran_at` is the
    commit that was measured, where that is not this one.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    result = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": ran_at or commit(),
        "machine": machine_facts(device, dtype) | ({"peers": peer_versions()} if peers else {}),
        "claims": claims,
        "rows": rows,
    }
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def peer_versions() -> dict[str, str]:
    """Return the versions of the peers that are installed."""
    return versions_of(PEERS)
