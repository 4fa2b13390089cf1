"""The demo as a whole process: how long, how much memory, what was kept; beside an earlier commit.

One call runs `potstill demo` once into an empty directory and puts one row on record in
benchmarks/results/demo.json, in place of an earlier one of the same contender and precision:

    python benchmarks/demo.py [--precision fp32] [--run runs/bench-demo]
    python benchmarks/demo.py --before WORKTREE [--precision fp32]

`--before` names a worktree of the commit to compare with (git worktree add --detach WORKTREE
17f08f5), whose sources run in place of these. Claims are made anew of all rows after each call:
seconds against before, stage by stage, once both have run in one precision. Run all parts on one
quiet machine. With `--set KEY=VALUE` the row is printed only.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, write_results
from result_files import read_results

from potstill.machine import cpu_name

ROOT = Path(__file__).parents[1]
STAGES = ("collection", "shrink", "training", "evaluation")
# The order of rows: pages read the first one.
ORDER = [(of, precision) for of in ("now", "before") for precision in ("bf16", "fp32")]
_KEPT = ("models", "differences", "collection", "training", "cost")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--run", type=Path, default=Path("runs/bench-demo"))
    parser.add_argument("--before", type=Path, help="a worktree of the commit to compare with")
    parser.add_argument("--precision", choices=("bf16", "fp32"), help="without it what is faster")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    asked = parser.parse_args()
    overrides = list(asked.overrides)
    if asked.precision:
        overrides.append(f"precision={asked.precision}")
    row = measured(asked.run, asked.before, overrides)
    if asked.overrides:
        print(json.dumps(claims_of([row]), indent=1))
        return
    found = read_results(RESULTS, "demo")
    rows = with_row([] if found is None else found["rows"], row)
    dtype = torch.bfloat16 if rows[0]["precision"] == "bf16" else torch.float32
    print(write_results("demo", claims_of(rows), rows, dtype))


def measured(run: Path, before: Path | None, overrides: Sequence[str]) -> dict[str, Any]:
    """Run the demo, of these sources or those of a worktree, and return its row."""
    source = before or ROOT
    command = [sys.executable, "-m", "potstill", "demo", "--fresh", "--out", str(run.resolve())]
    command += [part for override in overrides for part in ("--set", override)]
    start = time.perf_counter()
    subprocess.run(command, check=True, env=os.environ | {"PYTHONPATH": str(source / "src")})
    seconds = time.perf_counter() - start
    # The largest of this process's children: the demo, in kilobytes on Linux.
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    named = ["git", "-C", str(source), "rev-parse", "--short", "HEAD"]
    return {
        "of": "now" if before is None else "before",
        "precision": "bf16" if evaluation["machine"]["compute_dtype"] == "bfloat16" else "fp32",
        "commit": subprocess.run(named, capture_output=True, text=True, check=False).stdout.strip(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": cpu_name(),
        "seconds": seconds,
        "peak_memory_gb": memory,
        **{name: evaluation[name] for name in _KEPT},
    }


def with_row(rows: Sequence[dict[str, Any]], row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows in order with a new one, which replaces its forerunner.

    Rows that do not say what they are of, or come from another machine, are not kept.
    """
    kept = [r for r in rows if "of" in r and r["cpu"] == row["cpu"] and _key(r) != _key(row)]
    return sorted([*kept, row], key=lambda r: ORDER.index(_key(r)))


def _key(row: dict[str, Any]) -> tuple[str, str]:
    return row["of"], row["precision"]


def claims_of(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what pages may say of the demo.

    The first precision that ran has its names as they are, every precision has them with its own
    at the end; and so do seconds against before.
    """
    by_key = {_key(row): row for row in rows}
    claims: dict[str, tuple[float, str]] = {}
    for precision in ("bf16", "fp32"):
        now, before = by_key.get(("now", precision)), by_key.get(("before", precision))
        if now is not None:
            plain = {name: pair for name, pair in _figures(now).items() if pair[0] is not None}
            if not claims:
                claims |= plain
            claims |= {f"{name}_{precision}": pair for name, pair in plain.items()}
        if before is not None:
            claims |= {
                f"before_{name}_{precision}": pair
                for name, pair in _figures(before).items()
                if pair[0] is not None
            }
        if now is not None and before is not None:
            claims |= {
                f"{name}_vs_before_{precision}": (value / _seconds(before)[name], "ratio")
                for name, value in _seconds(now).items()
            }
    return {name: {"value": v, "unit": unit, "runs": 1} for name, (v, unit) in claims.items()}


def _seconds(row: dict[str, Any]) -> dict[str, float]:
    """Return the seconds of the whole process and of each stage."""
    stages = {f"{name}_seconds": float(row["cost"][name]["seconds"]) for name in STAGES}
    return {"seconds": row["seconds"], **stages}


def _figures(row: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    """Return a run's figures with their units; None where there is none."""
    models = row["models"]
    student, pruned, teacher = models["student"], models["pruned"], models["teacher"]

    def kl(name: str) -> float:
        return float(models[name]["kl_per_token"]["value"])

    return {
        **{name: (value, "s") for name, value in _seconds(row).items()},
        "peak_memory_gb": (row["peak_memory_gb"], "GB"),
        "parameters_vs_teacher": (student["params"] / teacher["params"], "ratio"),
        "kl_student": (kl("student"), "nats a token"),
        "kl_student_vs_pruned": (kl("student") / kl("pruned"), "ratio"),
        "kl_student_vs_untrained": (kl("student") / kl("untrained"), "ratio"),
        "top1_agreement": (student["top1_agreement"]["value"], "share"),
        "top1_agreement_pruned": (pruned["top1_agreement"]["value"], "share"),
        "decode_vs_teacher": (student["decode_tok_s"] / teacher["decode_tok_s"], "ratio"),
        # With one wave there is no share before the last one.
        "slots_busy_before_last_wave": (row["collection"]["slots_busy_before_last_wave"], "share"),
        "flops_vs_from_scratch": (row["cost"]["ratio_flops"], "ratio"),
    }


if __name__ == "__main__":
    main()
