"""The loss and its gradients alone, against the matrix products that it cannot avoid, and peers.

Forward KL from hidden states, with gradients to the student's states and head. Times come from
one process in which the contenders take turns; what a call holds beyond its inputs and gradients
comes from a process for each. Writes benchmarks/results/loss.json.

    python benchmarks/loss.py [--quick] [--device cuda --rows 8192]
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import subprocess
import sys
from collections.abc import Sequence
from statistics import median
from typing import Any

import psutil
import torch
from common import write_results
from peers import loss_products
from peers.loss_case import Case, Step, seconds_of
from peers.memory import forget_peak, held_bytes, peak_bytes
from peers.setup import torch_dtype

WIDTH = 576
VOCABULARIES = (49_152, 151_936, 262_144)
MEMORY_TOKENS = 151_936
# From 2,048 on a chunk is as large as it gets, whatever the precision.
MEMORY_ROWS = (2048, 4096)
# Each is a module `peers.loss_NAME`.
PEERS = ("naive", "liger", "trl", "orda")
# A peer that takes longer than this is measured once.
LONG = 10.0
# All logits and what autograd keeps of them, in fp32 matrices: more than this does not fit here.
NAIVE_COPIES = 7
Row = dict[str, Any]


def main() -> None:
    arguments = _arguments()
    device = torch.device(arguments.device)
    if arguments.memory_of:
        name, precision, count = arguments.memory_of
        print(json.dumps(memory_of(name, precision, int(count), arguments.width, device)))
        return
    rows: list[Row] = []
    for precision in arguments.precisions:
        for tokens in arguments.vocabularies:
            rows += timed(precision, tokens, arguments, device)
            _show(rows, tokens, precision)
    for precision in arguments.precisions:
        rows += memory_rows(precision, arguments)
    claims = claims_of(rows, arguments.runs)
    for name, claim in claims.items():
        print(f"{name}: {claim['value']:.4g} {claim['unit']}")
    if arguments.complete:
        name = "loss" if device.type == "cpu" else "loss_gpu"
        dtype = torch_dtype(arguments.precisions[-1])
        print(write_results(name, claims, rows, dtype, device=device, peers=True))


def timed(
    precision: str, tokens: int, arguments: argparse.Namespace, device: torch.device
) -> list[Row]:
    """Return a row for each contender, which took turns on the same inputs."""
    case = Case.drawn(arguments.rows, tokens, arguments.width, torch_dtype(precision), device)
    facts = {"precision": precision, "vocabulary": tokens, "rows": arguments.rows}
    contenders = {"products": loss_products.fastest(case), "potstill": _made("potstill")}
    found: list[Row] = []
    for name in arguments.peers:
        row = first_call(name, case, contenders["potstill"])
        if "skipped" not in row:
            contenders[name] = _made(name)
        found.append({"contender": name, **facts, **row, "seconds": []})
    found.append({"contender": "potstill", **facts, "seconds": []})
    found.append(
        {"contender": "products", **facts, "seconds": [], "flops": loss_products.flops(case)}
    )
    by_name = {row["contender"]: row for row in found}
    for turn in range(arguments.runs):
        for name, step in contenders.items():
            seconds = by_name[name]["seconds"]
            slow = name in PEERS and (turn % 2 or (seconds and seconds[0] > LONG))
            if not slow:
                seconds.append(seconds_of(step, case))
    bare = median(by_name["products"]["seconds"])
    for row in found:
        if row["seconds"]:
            row["vs_products"] = median(row["seconds"]) / bare
            row["share_of_matmul_rate"] = 1 / row["vs_products"]
            row["tokens_per_s"] = arguments.rows / median(row["seconds"])
    return found


def first_call(name: str, case: Case, ours: Step) -> Row:
    """Return how far a peer's loss and gradients are from potstill's, or why it does not run."""
    if _takes_all_logits(name, case) and not _fits(case):
        return {"skipped": "does not run here: all logits do not fit into memory"}
    try:
        loss, hidden_ND, weight_VD = _found(_made(name), case)
    except Exception as error:
        case.forget()
        return {"skipped": f"does not run here: {type(error).__name__}: {str(error)[:150]}"}
    expected, expected_ND, expected_VD = _found(ours, case)
    case.forget()
    return {
        "loss": loss,
        "loss_apart": abs(loss / expected - 1),
        "hidden_gradient_apart": _apart(hidden_ND, expected_ND),
        "head_gradient_apart": _apart(weight_VD, expected_VD),
    }


def memory_rows(precision: str, arguments: argparse.Namespace) -> list[Row]:
    """Return what a call of each contender holds beyond inputs and gradients, by rows."""
    found = []
    for name in ("potstill", *arguments.peers):
        for count in arguments.memory_rows:
            facts = {"contender": name, "precision": precision, "memory_rows": count}
            found.append(facts | _in_a_process(name, precision, count, arguments))
            print(json.dumps(found[-1]), flush=True)
    return found


def memory_of(name: str, precision: str, rows: int, width: int, device: torch.device) -> Row:
    """Measure one call in this process."""
    dtype = torch_dtype(precision)
    step = _made(name)
    # What is loaded or set up at the first call is no part of it.
    step(Case.drawn(8, 512, width, dtype, device))
    case = Case.drawn(rows, MEMORY_TOKENS, width, dtype, device)
    if _takes_all_logits(name, case) and not _fits(case):
        return {"skipped": "does not run here: all logits do not fit into memory"}
    gc.collect()
    forget_peak(device)
    before = held_bytes(device)
    step(case)
    extra = peak_bytes(device) - before - case.gradient_bytes()
    return {"vocabulary": MEMORY_TOKENS, "extra_bytes": extra}


def claims_of(rows: Sequence[Row], runs: int) -> dict[str, Row]:
    """Return the claims of what was measured."""
    values: dict[str, tuple[float, str, int]] = {}
    times = {
        (row["precision"], row["vocabulary"], row["contender"]): median(row["seconds"])
        for row in rows
        if row.get("seconds")
    }
    for (precision, tokens, name), seconds in times.items():
        if name == "potstill":
            continue
        ours = times[precision, tokens, "potstill"] / seconds
        over = "matmul" if name == "products" else name
        short = "" if precision == "fp32" else f"_{precision}"
        values[f"time_vs_{over}{short}_v{tokens}"] = (ours, "ratio", runs)
    for precision in dict.fromkeys(row["precision"] for row in rows):
        held = {
            row["memory_rows"]: row["extra_bytes"]
            for row in rows
            if "extra_bytes" in row
            and (row["contender"], row["precision"]) == ("potstill", precision)
        }
        if len(held) < 2:
            continue
        short = "" if precision == "fp32" else f"_{precision}"
        most, least = max(held), min(held)
        growth = (held[most] - held[least]) / (most - least)
        values[f"memory_growth_per_token{short}"] = (growth, "bytes", 1)
        values[f"extra_memory{short}"] = (max(held.values()), "bytes", 1)
    return {k: {"value": v, "unit": unit, "runs": n} for k, (v, unit, n) in values.items()}


def _made(name: str) -> Step:
    """Return a contender's step; only its own packages are imported."""
    step: Step = importlib.import_module(f"peers.loss_{name}").made()
    return step


def _found(step: Step, case: Case) -> tuple[float, torch.Tensor, torch.Tensor]:
    case.forget()
    loss = float(step(case))
    assert case.hidden_ND.grad is not None
    assert case.weight_VD.grad is not None
    return loss, case.hidden_ND.grad, case.weight_VD.grad


def _apart(found: torch.Tensor, expected: torch.Tensor) -> float:
    """Return the difference's norm over the expected one's."""
    return float(torch.dist(found.float(), expected.float()) / expected.float().norm())


def _takes_all_logits(name: str, case: Case) -> bool:
    """Tell whether a contender holds the logits of all rows: orda-kernel does so on a CPU."""
    return name == "naive" or (name == "orda" and not case.hidden_ND.is_cuda)


def _fits(case: Case) -> bool:
    """Return whether all logits fit into the memory that is free."""
    if case.hidden_ND.is_cuda:
        free = torch.cuda.mem_get_info()[0]
    else:
        free = psutil.virtual_memory().available
    return NAIVE_COPIES * case.rows * len(case.weight_VD) * 4 < free


def _in_a_process(name: str, precision: str, rows: int, arguments: argparse.Namespace) -> Row:
    command = [sys.executable, __file__, "--memory-of", name, precision, str(rows)]
    command += ["--device", arguments.device, "--width", str(arguments.width)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        return {"skipped": f"does not run here: {reason[0][:200]}"}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _show(rows: Sequence[Row], tokens: int, precision: str) -> None:
    for row in rows:
        if row.get("vocabulary") == tokens and row["precision"] == precision:
            print(json.dumps(row), flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small, and nothing is written")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--precisions", nargs="+", choices=("fp32", "bf16"), help="only these; nothing is written"
    )
    parser.add_argument("--vocabularies", nargs="+", type=int)
    parser.add_argument("--rows", type=int, help="positions in a call")
    parser.add_argument("--memory-rows", nargs="+", type=int)
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--runs", type=int, help="measurements of each contender")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS, help="only these")
    parser.add_argument(
        "--memory-of", nargs=3, metavar=("NAME", "PRECISION", "ROWS"), help=argparse.SUPPRESS
    )
    found = parser.parse_args()
    quick = found.quick
    # Part of the measurements must not take the place of all of them.
    found.complete = not (quick or found.precisions)
    if found.device == "cpu":
        found.complete = found.complete and not found.vocabularies
    found.precisions = found.precisions or (["fp32", "bf16"] if found.device == "cpu" else ["bf16"])
    found.vocabularies = found.vocabularies or VOCABULARIES[: 1 if quick else None]
    found.rows = found.rows or (256 if quick else 1024)
    found.memory_rows = found.memory_rows or (MEMORY_ROWS[:2] if quick else MEMORY_ROWS)
    found.runs = found.runs or (3 if quick else 5)
    return found


if __name__ == "__main__":
    main()
