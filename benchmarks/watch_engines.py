"""Whether Spark finds what DuckDB finds in a simulated world, and how long either takes.

A world of watch_scale.py is made in --work, taken in with full text, and searched by the command
that a user runs, on either engine: everything that `watch find --json` prints is compared. Spark
has two threads of this machine. Seconds are of the wall, whole processes with their imports and,
for Spark, the start of its session. Writes benchmarks/results/watch_engines.json; needs the extra
`spark` and Java.

    python benchmarks/watch_engines.py --work DIR [--requests 200000]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from common import write_results
from watch_scale import CASES_FOUND, PRIVACY, world_of

from potstill.runs.watching import LogWanted, ingest_log


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--work", type=Path, required=True, help="where worlds are kept")
    parser.add_argument("--requests", type=int, default=200_000)
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    world = world_of(given.work, given.requests)
    store = given.work / f"{world.name}-engines"
    if not store.exists():
        log = LogWanted((str(world / "requests"),), world / "accounts.parquet")
        ingest_log(log, store, PRIVACY)
    rows = [searched(store, engine) for engine in ("duckdb", "spark")]
    said = [json.loads(row.pop("said")) for row in rows]
    rows = [{**row, "requests": said[0]["requests"]} for row in rows]
    differing = sum(said[0][name] != said[1][name] for name in said[0])
    claims = {
        "fields_that_differ": {
            "value": differing, "unit": "of what `watch find --json` prints", "runs": 1,
        },
        "groups_compared": {
            "value": len(said[0]["candidates"]), "unit": "with every figure of theirs", "runs": 1,
        },
        "campaigns_compared": {
            "value": len(said[0]["campaigns"]), "unit": "with ids and accounts", "runs": 1,
        },
        **{
            f"seconds_{row['engine']}": {"value": row["seconds"], "unit": "s", "runs": 1}
            for row in rows
        },
    }  # fmt: skip
    print(json.dumps(claims, indent=1))
    print(write_results("watch_engines", claims, rows, torch.float32))


def searched(store: Path, engine: str) -> dict[str, Any]:
    """Return what `watch find` says of a store on an engine, and its seconds."""
    command = [sys.executable, "-m", "potstill", "watch", "find", str(store), "--json"]
    begun = time.perf_counter()
    found = subprocess.run(
        [*command, "--engine", engine], stdout=subprocess.PIPE, text=True, check=False
    )
    if found.returncode not in (0, CASES_FOUND):
        raise SystemExit(f"watch find on {engine} failed with {found.returncode}")
    seconds = round(time.perf_counter() - begun, 1)
    return {"engine": engine, "seconds": seconds, "said": found.stdout}


if __name__ == "__main__":
    main()
