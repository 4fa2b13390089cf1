"""The demo as a whole process: how long, how much memory, what was kept.

Runs `potstill demo` into an empty directory and writes benchmarks/results/demo.json.

    python benchmarks/demo.py [--run runs/bench-demo]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from common import write_results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--run", type=Path, default=Path("runs/bench-demo"))
    run = parser.parse_args().run
    start = time.perf_counter()
    command = [sys.executable, "-m", "potstill", "demo", "--fresh", "--out", str(run)]
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - start
    # The largest of this process's children: the demo, in kilobytes on Linux.
    memory = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024 / 1e9
    evaluation = json.loads((run / "evaluation.json").read_text(encoding="utf-8"))
    claims = claims_of(evaluation, seconds, memory)
    row = {k: evaluation[k] for k in ("models", "differences", "collection", "training", "cost")}
    dtype = getattr(torch, evaluation["machine"]["compute_dtype"])
    print(write_results("demo", claims, [row], dtype))


def claims_of(
    evaluation: dict[str, Any], seconds: float, memory_gb: float
) -> dict[str, dict[str, Any]]:
    """Return what the README may say of the demo."""
    models = evaluation["models"]
    student, pruned = models["student"], models["pruned"]

    def kl(name: str) -> float:
        return float(models[name]["kl_per_token"]["value"])

    values = {
        "seconds": (seconds, "s"),
        "peak_memory_gb": (memory_gb, "GB"),
        "parameters_vs_teacher": (student["params"] / models["teacher"]["params"], "ratio"),
        "kl_student": (kl("student"), "nats a token"),
        "kl_student_vs_pruned": (kl("student") / kl("pruned"), "ratio"),
        "kl_student_vs_untrained": (kl("student") / kl("untrained"), "ratio"),
        "top1_agreement": (student["top1_agreement"]["value"], "share"),
        "top1_agreement_pruned": (pruned["top1_agreement"]["value"], "share"),
        "decode_vs_teacher": (student["decode_tok_s"] / models["teacher"]["decode_tok_s"], "ratio"),
        "slots_busy_before_last_wave": (
            evaluation["collection"]["slots_busy_before_last_wave"],
            "share",
        ),
        "flops_vs_from_scratch": (evaluation["cost"]["ratio_flops"], "ratio"),
    }
    # With one wave there is no share before the last one.
    known = {name: pair for name, pair in values.items() if pair[0] is not None}
    return {name: {"value": v, "unit": unit, "runs": 1} for name, (v, unit) in known.items()}


if __name__ == "__main__":
    main()
