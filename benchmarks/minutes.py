"""Does `potstill demo --minutes N` keep its minutes? Whole processes, by the wall clock.

Each run is a row that is added to benchmarks/results/minutes.json, so that runs may be made apart:

    python benchmarks/minutes.py 3 --times 5
    python benchmarks/minutes.py 10 --times 2
    python benchmarks/minutes.py 30
    python benchmarks/minutes.py 3 --busy      # with another process on a core
    python benchmarks/minutes.py 10 --busy
    python benchmarks/minutes.py 0             # without minutes: what was foretold, what it took

Seconds are from the start of the process to its end, with imports, report and manifest. Claims are
over all rows of one commit; rows of others are put away first (`--fresh` puts all away).
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from commits import commit
from common import RESULTS, write_results
from result_files import read_results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("minutes", type=float, help="0: without --minutes, only foretold")
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--busy", action="store_true", help="keep one core busy meanwhile")
    parser.add_argument("--fresh", action="store_true", help="put earlier rows away")
    parser.add_argument("--run", type=Path, default=Path("runs/bench-minutes"))
    given = parser.parse_args()
    rows = [] if given.fresh else earlier_rows()
    for _ in range(given.times):
        rows.append(one_run(given.minutes, given.run, busy=given.busy))
        print(json.dumps(rows[-1]))
        evaluation = json.loads((given.run / "evaluation.json").read_text(encoding="utf-8"))
        dtype = getattr(torch, evaluation["machine"]["compute_dtype"])
        print(write_results("minutes", claims_of(rows), rows, dtype))


def earlier_rows() -> list[dict[str, Any]]:
    """Return the rows of this commit that are on record."""
    found = read_results(RESULTS, "minutes")
    if found is None:
        return []
    # Git abbreviates a commit to more digits as a repository grows.
    short, long = sorted((found["commit"], commit()), key=len)
    return list(found["rows"]) if long.startswith(short) else []


def one_run(minutes: float, run: Path, *, busy: bool) -> dict[str, Any]:
    """Run the demo as a process of its own, and return what it foretold and took."""
    asked = ["--minutes", f"{minutes:g}"] if minutes else []
    command = [sys.executable, "-m", "potstill", "demo", *asked, "--out", str(run)]
    # Begun from nothing: a run that is put away is checked twice.
    shutil.rmtree(run, ignore_errors=True)
    with busy_core(busy):
        start = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - start
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    told, student = evaluation["time"], evaluation["models"]["student"]
    return {
        "minutes": minutes or None,
        "busy": busy,
        "seconds": seconds,
        "estimate": told["estimate"],
        "used": seconds / (60 * minutes) if minutes else None,
        "estimate_error": abs(told["estimate"] - seconds) / seconds,
        "stages": told["stages"],
        "replanned": told["replanned"],
        "held_out": evaluation["held_out"]["prompts"],
        "steps": evaluation["training"]["steps"],
        "kl": student["kl_per_token"],
        "top1_agreement": student["top1_agreement"],
    }


def claims_of(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what may be said of all runs; overshoot is by which share one took longer."""
    timed = [row["used"] for row in rows if row["used"] is not None]
    values = {
        "overshoot_max": max((max(0.0, used - 1) for used in timed), default=None),
        "used_min": min(timed, default=None),
        "estimate_error_max": max(row["estimate_error"] for row in rows),
        "held_out_min": min(row["held_out"] for row in rows),
    }
    units = {"held_out_min": "prompts"}
    return {
        name: {"value": value, "unit": units.get(name, "share"), "runs": len(rows)}
        for name, value in values.items()
        if value is not None
    }


@contextmanager
def busy_core(wanted: bool) -> Iterator[None]:
    """Keep one core busy while the block runs, where that is wanted."""
    if not wanted:
        yield
        return
    worker = multiprocessing.Process(target=_spin, daemon=True)
    worker.start()
    try:
        yield
    finally:
        worker.terminate()
        worker.join()


def _spin() -> None:
    count = 0
    while True:
        count += 1


if __name__ == "__main__":
    main()
