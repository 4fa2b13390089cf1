"""How fast the demo's prompts are answered: potstill, an earlier commit of it, and its peers.

The same prompts are answered by potstill as the demo does (its slots and waves, states kept), by an
earlier commit, by transformers' `generate` at its best batch, by its continuous batching, and by
llama.cpp's server at the better of two settings; and what one token of each of 128 rows is
multiplied with is multiplied alone (by torch's own product, and by the one that decoding takes).
Each side is a process of its own; potstill and the earlier commit take turns, medians.

A part is PROMPTS:PRECISION:SIDE. Parts are written as they are done and join those that
benchmarks/results/collect.json holds already, so that they can be run
one by one: `--only 192:fp32`, `--only 1000:bf16:generate`.

    python benchmarks/collect.py [--only PART ...] [--before PATH] [--runs 3] [--quick]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import RESULTS, write_results

HERE = Path(__file__).parent
BEFORE = "17f08f5"
# Prompts, and the most tokens of an answer: a side with 1,000 prompts of 96 takes ten minutes.
SIZES = {192: 96, 1000: 48}
QUICK = {48: 24}
PRECISIONS = ("fp32", "bf16")
SIDES = ("potstill", "before", "products", "generate", "continuous", "llama_cpp")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", nargs="+", default=[""], metavar="PROMPTS[:PRECISION[:SIDE]]")
    parser.add_argument("--before", type=Path, help=f"a checkout of {BEFORE}; made without it")
    parser.add_argument("--runs", type=int, default=1, help="runs of potstill, earlier and now")
    parser.add_argument("--quick", action="store_true", help="48 prompts, nothing written")
    arguments = parser.parse_args()
    parts = [
        (size, tokens, precision)
        for size, tokens in (QUICK if arguments.quick else SIZES).items()
        for precision in PRECISIONS
    ]
    rows = [] if arguments.quick else known()
    with checkout(arguments.before) as before:
        for size, tokens, precision in parts:
            for side, run in turns(arguments.runs):
                part = f"{size}:{precision}:{side}"
                if not any(f"{part}:".startswith(f"{o}:" if o else "") for o in arguments.only):
                    continue
                row = {"part": part, "run": run, "max_tokens": tokens}
                row |= measured(side, size, precision, tokens, before)
                rows = [r for r in rows if (r["part"], r["run"]) != (part, run)] + [row]
                print(row, flush=True)
                if not arguments.quick:
                    write_results("collect", claims(rows), rows, torch.float32)
    print(json.dumps(claims(rows), indent=1))


def turns(runs: int) -> Iterator[tuple[str, int]]:
    """Yield (side, run): potstill and the commit before it in turns, then the others once."""
    for run in range(runs):
        yield from ((side, run) for side in SIDES[:2])
    yield from ((side, 0) for side in SIDES[2:])


def measured(side: str, size: int, precision: str, tokens: int, before: Path) -> dict[str, Any]:
    """Return what one side's process found."""
    tree = before if side == "before" else HERE.parent
    name = "potstill" if side == "before" else side
    command = [sys.executable, str(HERE / "collect_sides.py"), name]
    command += [str(size), precision, str(tokens)]
    environment = {**os.environ, "PYTHONPATH": str(tree / "src")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise SystemExit(f"{side} ended with {done.returncode}:\n{done.stderr[-2_000:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def claims(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the ratios that can be told of the parts that were run."""

    def rate(part: str, field: str = "tokens_per_s") -> float | None:
        found = [row[field] for row in rows if row["part"] == part and field in row]
        return median(found) if found else None

    named: dict[str, dict[str, Any]] = {}
    for whole in sorted({row["part"].rpartition(":")[0] for row in rows}):
        ours = rate(f"{whole}:potstill")
        if ours is None:
            continue
        runs = sum(row["part"] == f"{whole}:potstill" for row in rows)
        size, precision = whole.split(":")
        end = f"_{size}_{precision}"
        named[f"tokens_per_s{end}"] = {"value": ours, "unit": "tokens/s", "runs": runs}
        busy = rate(f"{whole}:potstill", "slots_busy")
        named[f"slots_busy{end}"] = {"value": busy, "unit": "share", "runs": runs}
        for side in SIDES[1:]:
            theirs = rate(f"{whole}:{side}")
            if theirs is not None:
                named[f"tokens_per_s_vs_{side}{end}"] = {
                    "value": ours / theirs,
                    "unit": "ratio",
                    "runs": runs if side == "before" else 1,
                }
        chosen = rate(f"{whole}:products", "tokens_per_s_chosen")
        if chosen is not None:
            value = {"value": ours / chosen, "unit": "ratio", "runs": 1}
            named[f"tokens_per_s_vs_chosen_products{end}"] = value
    return named


def known() -> list[dict[str, Any]]:
    """Return the rows of parts that were measured already."""
    path = RESULTS / "collect.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    return [row for row in rows if "part" in row]


@contextmanager
def checkout(given: Path | None) -> Iterator[Path]:
    """Give a checkout of the earlier commit: the given one, or one that is made and taken away."""
    if given is not None:
        yield given
        return
    git = ["git", "-C", str(HERE.parent), "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "before"
        subprocess.run([*git, "add", "--detach", str(path), BEFORE], check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=True)


if __name__ == "__main__":
    main()
