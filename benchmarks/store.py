"""What reading the exchange store takes, in time and memory, against commit 17f08f5.

A store of 100,000 exchanges of 200 tokens (40 of the prompt, 160 of the response), marked and
compacted, without targets, is made by that commit. Then both versions ask it, each in a process of
its own, what the stages of a run ask: benchmarks/store_side.py has the calls, stage by stage, and
compares what either was given. Seconds are those of curate, shrink, train's preparation and
evaluate, summed; memory is the highest resident one less that after imports. `rows` also has the
same exchanges as this version lays them out (a split in row groups of its own), and in a journal
that is not compacted yet. Beside it, whole fresh processes: `import potstill`, `potstill --help`.
Writes benchmarks/results/store.json.

    python benchmarks/store.py [--count 100000] [--runs 3]
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import write_results

Row = dict[str, Any]
ROOT = Path(__file__).parents[1]
SIDE = Path(__file__).with_name("store_side.py")
BEFORE = "17f08f5"
PROCESSES = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="potstill-store-") as name:
        folder = Path(name)
        old, new = unpacked(BEFORE, folder / "before"), ROOT / "src"
        stores = {layout: folder / layout for layout in ("before", "after", "journal")}
        side(old, "make", stores["before"], chosen.count)
        side(old, "make", stores["journal"], chosen.count, "open")
        side(new, "copy", stores["after"], stores["before"])
        asked = [
            ("before", old, "before"),
            ("after", new, "before"),
            ("after", new, "after"),
            ("before", old, "journal"),
            ("after", new, "journal"),
        ]
        found: list[list[Row]] = [[] for _ in asked]
        # In turns, so that whatever else the machine does meets all of them.
        for number in range(chosen.runs):
            for (calls, source, layout), runs in zip(asked, found, strict=True):
                if layout != "journal" or number == 0:
                    runs.append(json.loads(side(source, calls, stores[layout])))
                    print(calls, layout, json.dumps(runs[-1]), flush=True)
        rows = [
            {"calls": calls, "laid_out": layout, "bytes_on_disk": size(stores[layout])}
            | summed(runs)
            for (calls, _, layout), runs in zip(asked, found, strict=True)
        ]
    if len({json.dumps(one["given"]) for runs in found for one in runs}) != 1:
        raise SystemExit("the two versions were not given the same exchanges")
    claims = claims_of(rows)
    for row in rows:
        row["exchanges"] = chosen.count
    print(json.dumps(claims, indent=1))
    if chosen.count < 100_000:
        raise SystemExit("only the full count is written down")
    print(write_results("store", claims, rows, torch.float32))


def unpacked(commit: str, folder: Path) -> Path:
    """Write the sources of a commit into a folder and return what to import from."""
    command = ["git", "-C", str(ROOT), "archive", commit, "src"]
    archive = subprocess.run(command, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder / "src"


def side(source: Path, *arguments: object) -> str:
    """Run one side on the sources in `source` and return what it prints."""
    command = [sys.executable, str(SIDE), *map(str, arguments)]
    return python(command, source)


def python(command: list[str], source: Path) -> str:
    """Run a command that imports potstill from `source` and return what it prints."""
    environment = {**os.environ, "PYTHONPATH": str(source)}
    found = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return found.stdout


def summed(runs: list[Row]) -> Row:
    """Return the median seconds and bytes of some runs, and what each took."""
    every = [sum(one["seconds"].values()) for one in runs]
    return {
        "seconds": median(every),
        "peak_bytes": median(one["bytes"] for one in runs),
        "stages": {
            name: median(one["seconds"][name] for one in runs) for name in runs[0]["seconds"]
        },
        "runs_seconds": every,
    }


def claims_of(rows: list[Row]) -> dict[str, Row]:
    """Return what may be said of the store: this version against the one before it."""
    by = {(row["calls"], row["laid_out"]): row for row in rows}

    def ratio(key: str, layout: str, against: str) -> Row:
        value = by["after", layout][key] / by["before", against][key]
        runs = len(by["after", layout]["runs_seconds"])
        return {"value": value, "unit": "ratio", "runs": runs}

    def seconds(*arguments: str) -> Row:
        value = median(fresh([sys.executable, *arguments]) for _ in range(PROCESSES))
        return {"value": value, "unit": "s", "runs": PROCESSES}

    return {
        "read_time_vs_before": ratio("seconds", "before", "before"),
        "peak_memory_vs_before": ratio("peak_bytes", "before", "before"),
        "read_time_of_new_layout_vs_before": ratio("seconds", "after", "before"),
        "peak_memory_of_new_layout_vs_before": ratio("peak_bytes", "after", "before"),
        "read_time_of_journal_vs_before": ratio("seconds", "journal", "journal"),
        "peak_memory_of_journal_vs_before": ratio("peak_bytes", "journal", "journal"),
        "help_s": seconds("-m", "potstill", "--help"),
        "import_s": seconds("-c", "import potstill"),
    }


def fresh(command: list[str]) -> float:
    """Return the seconds of a whole process on this version's sources."""
    start = time.perf_counter()
    python(command, ROOT / "src")
    return time.perf_counter() - start


def size(folder: Path) -> int:
    """Return the bytes of the files under a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
