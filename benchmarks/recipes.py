"""Every recipe of recipes/ as `make demo-all` runs it: time, size, what was kept, who is better.

Runs what is not finished yet, and writes benchmarks/results/recipes.json; those that are named go
into a file of their own, recipes_NAME.json.

    python benchmarks/recipes.py [NAME ...]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from common import write_results

sys.path.insert(0, str(Path(__file__).parents[1] / "recipes"))

from demo_all import NAMES, outcome

KEPT = ("models", "differences", "task", "payback", "shrink", "training", "collection", "cost")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    named = parser.parse_args().names
    names = named or NAMES
    rows, claims = [], {}
    for name in names:
        evaluation = json.loads(Path(outcome(name)["evaluation"]).read_text(encoding="utf-8"))
        rows.append({"recipe": name} | {k: evaluation[k] for k in KEPT if k in evaluation})
        claims |= claims_of(name.replace("-", "_"), evaluation)
    dtype = getattr(torch, evaluation["machine"]["compute_dtype"])
    print(write_results("_".join(["recipes", *named]), claims, rows, dtype))


def claims_of(name: str, evaluation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what may be said of one recipe's run."""
    models, task = evaluation["models"], evaluation.get("task") or {}
    values: dict[str, tuple[float, str]] = {
        f"{name}_seconds": (evaluation["cost"]["total"]["seconds"], "s")
    }
    if "teacher" in models:
        share = models["student"]["params"] / models["teacher"]["params"]
        values[f"{name}_parameters_vs_teacher"] = (share, "ratio")
    for model in ("teacher", "student"):
        if task.get(model):
            values[f"{name}_{model}_exact"] = (task[model][task["score"]]["value"], "share")
    compared = task.get("comparison")
    if compared:
        values[f"{name}_difference"] = (compared["difference"], "share")
        values[f"{name}_difference_low"] = (compared["interval"][0], "share")
        values[f"{name}_difference_high"] = (compared["interval"][1], "share")
    return {key: {"value": value, "unit": unit, "runs": 1} for key, (value, unit) in values.items()}


if __name__ == "__main__":
    main()
