"""What taking in, searching and writing cases of traffic takes: seconds and memory, by size.

Simulated worlds (benchmarks/traffic; open mechanisms, seed 7, seven days) are made once in --work
and kept there. Each is taken in with full text, searched, and its cases are written, by the
commands that a user runs, each as a process of its own whose highest resident memory is told.
`watch cases` finds campaigns itself, so that a world's seconds are those of `ingest` and of
`cases`; `find` alone stands beside those of the first world. Seconds are of the wall, whole
processes with their imports. Beside the first world stand the baselines
(benchmarks/watch_baselines.py), on the same rows in the same run. Writes
benchmarks/results/watch_scale.json.

    python benchmarks/watch_scale.py --work DIR [--sizes 1000000 10000000]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import write_results

ROOT = Path(__file__).resolve().parents[1]
SIZES, SEED, PRIVACY = (1_000_000, 10_000_000), 7, "full"
CASES_FOUND = 3  # what `find` and `cases` exit with where there is a campaign
# A world as Parquet and its store, with room for what is spilled.
_BYTES_A_ROW = 1_200


@dataclass(frozen=True)
class Cost:
    """What a process took: seconds of the wall and of processors, and highest memory in GB."""

    seconds: float
    cpu_seconds: float
    peak_gb: float

    @classmethod
    def of(cls, arguments: list[str], good: tuple[int, ...] = (0,)) -> Cost:
        """Run a command to its end. Raises SystemExit where it fails."""
        begun = time.perf_counter()
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env=_environment())
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - begun
        # It is waited for already.
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in good:
            raise SystemExit(f"{' '.join(arguments[2:5])} failed with {process.returncode}")
        return cls(
            round(seconds, 2),
            round(usage.ru_utime + usage.ru_stime, 2),
            round(usage.ru_maxrss * 1024 / 1e9, 3),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--work", type=Path, required=True, help="where worlds are kept")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=SIZES, help="requests of each world"
    )
    parser.add_argument("--baselines", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--keep-stores", action="store_true", help="leave the stores there")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for size in sorted(given.sizes):
        row = measured(given.work, size, alone=not rows, keep=given.keep_stores)
        if given.baselines and not rows:
            row["baselines"] = baselines_of(world_of(given.work, size))
        rows.append(row)
        print(json.dumps(row), flush=True)
    claims = claims_of(rows)
    print(json.dumps(claims, indent=1))
    if tuple(sorted(given.sizes)) != SIZES:
        raise SystemExit("only both full sizes are written down")
    print(write_results("watch_scale", claims, rows, torch.float32))


def measured(work: Path, size: int, *, alone: bool, keep: bool = False) -> dict[str, Any]:
    """Return what a world of `size` requests takes, command by command; `find` too if `alone`."""
    world = world_of(work, size)
    store = work / f"{world.name}-store"
    shutil.rmtree(store, ignore_errors=True)
    watch = [sys.executable, "-m", "potstill", "watch"]
    accounts = ["--accounts", str(world / "accounts.parquet"), "--privacy", PRIVACY]
    logs = [str(world / "requests"), "--into", str(store), "--quiet"]
    costs = {
        "ingest": Cost.of([*watch, "ingest", *logs, *accounts]),
        "cases": Cost.of([*watch, "cases", str(store)], (0, CASES_FOUND)),
    }
    if alone:
        costs["find"] = Cost.of([*watch, "find", str(store), "--json"], (0, CASES_FOUND))
    requests = _requests(world)
    seconds = costs["ingest"].seconds + costs["cases"].seconds
    row = {
        "requests": requests,
        "days": len(list((world / "requests").iterdir())),
        "seconds": round(seconds, 2),
        "seconds_per_million": round(seconds / requests * 1e6, 2),
        "peak_gb": max(cost.peak_gb for cost in costs.values()),
        "bytes_of_log": _size(world / "requests"),
        "bytes_of_store": _size(store),
        "making_seconds": _made(world),
        **{f"{name}_{part}": value for name, c in costs.items() for part, value in vars(c).items()},
    }
    if not keep:
        shutil.rmtree(store)
    return row


def world_of(work: Path, size: int) -> Path:
    """Return a world of so many requests, which is made where it is not there."""
    world = work / f"open-{size}-{SEED}"
    if _made(world) is not None:
        return world
    shutil.rmtree(world, ignore_errors=True)
    if shutil.disk_usage(work).free < size * _BYTES_A_ROW:
        raise SystemExit(f"{work} has no room for {size} requests and their store")
    make = [sys.executable, str(ROOT / "benchmarks/traffic/make.py")]
    about = ["--requests", str(size), "--seed", str(SEED), "--out", str(world)]
    cost = Cost.of([*make, *about])
    (world / "made.json").write_text(json.dumps({"seconds": cost.seconds}), encoding="utf-8")
    return world


def baselines_of(world: Path) -> list[dict[str, Any]]:
    """Return what each baseline takes over a world's account days."""
    sys.path.insert(0, str(Path(__file__).resolve().parent))
    try:
        from watch_baselines import timed_baselines
    except ImportError as error:
        print(f"no baselines: {error}", file=sys.stderr)
        return []
    found: list[dict[str, Any]] = timed_baselines(world)
    return found


def claims_of(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what is claimed: the cost of a million requests, memory, and how either grows."""
    last = rows[-1]
    claims: dict[str, dict[str, Any]] = {
        "seconds_per_million": {
            "value": rows[0]["seconds_per_million"],
            "unit": f"s a million requests, of {rows[0]['requests']}",
            "runs": 1,
        },
        "seconds_per_million_largest": {
            "value": last["seconds_per_million"],
            "unit": f"s a million requests, of {last['requests']}",
            "runs": 1,
        },
        "peak_gb": {"value": last["peak_gb"], "unit": f"GB at {last['requests']}", "runs": 1},
    }
    if len(rows) > 1:
        claims["growth_10m"] = {
            "value": round(last["seconds"] / rows[0]["seconds"], 2),
            "unit": f"seconds of {last['requests']} over those of {rows[0]['requests']}",
            "runs": 1,
        }
    return claims


def _made(world: Path) -> float | None:
    try:
        return float(json.loads((world / "made.json").read_text(encoding="utf-8"))["seconds"])
    except FileNotFoundError:
        return None


def _requests(world: Path) -> int:
    made = json.loads((world / "world.json").read_text(encoding="utf-8"))
    return sum(made["requests_by_kind"].values())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONPATH": str(ROOT / "src")}


if __name__ == "__main__":
    main()
