"""What closed-form healing wins back, without any training.

Five of SmolLM2's thirty blocks are dropped, chosen by the loss after healing on validation
prompts. The student is measured on 200 held-out prompts (teacher text at temperature 1): cut
plainly, with the block before each gap refitted, and with every later block refitted too (the
run's own student). Beside it every sixth block is dropped plainly, as DistilBERT does. Writes
benchmarks/results/heal.json.

    python benchmarks/heal.py [--run runs/bench-heal] [--set shrink.candidates=4]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common import write_results

from potstill import pipeline
from potstill.cli.common import progress_for
from potstill.evaluate.fidelity import compare, summarise
from potstill.job import Job
from potstill.models.load import blocks_of, head_of
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.recipe_io import packaged_recipe
from potstill.rundir import RunDir
from potstill.shrink.cut import Cut
from potstill.shrink.heal import heal
from potstill.shrink.making import pruned
from potstill.shrink.streams import calibration_batches
from potstill.stages.inputs import calibration_rows

DROPPED = 5
SETTINGS = [
    "name=bench-heal",
    f"shrink.drop_layers={DROPPED}",
    "shrink.blocks=null",
    "shrink.vocabulary=null",
    "shrink.candidates=7",
    "train.frozen_blocks=0",
    "collect.max_tokens=128",
    "evaluate.max_tokens=128",
    "shrink.calibration_tokens=130000",
    "evaluate.greedy=false",
]

Measure = Callable[[LoadedModel], dict[str, Any]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--run", type=Path, default=Path("runs/bench-heal"))
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    arguments = parser.parse_args()
    recipe = packaged_recipe("demo", [*SETTINGS, *arguments.overrides])
    progress = progress_for(False)
    pipeline.distill(recipe, arguments.run, until="shrink", progress=progress)
    with RunDir.open(arguments.run, recipe) as run:
        job = Job(run, recipe, progress)
        rows = measured_rows(job)
        dtype = job.teacher.compute_dtype
        job.store.close()
    by_name = {row["student"]: row for row in rows if "student" in row}
    plain, healed = by_name["plain"], by_name["cascade"]
    claims = {
        "kl_healed_vs_plain": healed["kl_per_token"]["value"] / plain["kl_per_token"]["value"],
        "top1_agreement_healed": healed["top1_agreement"]["value"],
        "top1_agreement_plain": plain["top1_agreement"]["value"],
        "kl_healed": healed["kl_per_token"]["value"],
    }
    units = {"kl_healed_vs_plain": "ratio", "kl_healed": "nats a token"}
    path = write_results(
        "heal",
        {k: {"value": v, "unit": units.get(k, "share"), "runs": 1} for k, v in claims.items()},
        rows,
        dtype,
    )
    print(path)
    for row in by_name.values():
        print(row["student"], row["blocks"], row["kl_per_token"], row["top1_agreement"])


def measured_rows(job: Job) -> list[dict[str, Any]]:
    """Return one row for each way to make the student."""
    done = job.run.done("shrink") or {}
    searched = tuple(done["blocks"])
    layers = len(blocks_of(job.teacher.network))
    evenly = tuple(range(layers // DROPPED - 1, layers, layers // DROPPED))[:DROPPED]
    measure = held_out_measure(job)
    calibration = calibration_rows(job, job.recipe.shrink.calibration_tokens)
    rows = []
    students = {
        "plain": (searched, lambda: cut(job, searched)),
        "gap": (searched, lambda: gaps_healed(job, searched, calibration)),
        "cascade": (searched, lambda: job.load_student(job.untrained, trainable=True)),
        "every sixth, plain": (evenly, lambda: cut(job, evenly)),
    }
    for name, (blocks, make) in students.items():
        rows.append({"student": name, "blocks": list(blocks), **measure(make())})
    rows.append({"search": done["trials"], "validation": [done["plain"], done["healed"]]})
    rows.append({"recipe": job.recipe.model_dump(mode="json")})
    return rows


def cut(job: Job, blocks: Sequence[int]) -> LoadedModel:
    """Return the teacher without the blocks."""
    return pruned(job.teacher, Cut(tuple(blocks), None))[0]


def gaps_healed(
    job: Job, blocks: Sequence[int], calibration: Sequence[Sequence[int]]
) -> LoadedModel:
    """Return the teacher without the blocks, the block before each gap refitted."""
    student = cut(job, blocks)
    batches = calibration_batches(job.teacher, calibration)
    ridge = job.recipe.shrink.ridge
    heal(job.teacher, student, Cut(tuple(blocks)), batches, ridge=ridge, cascade=False)
    return student


def held_out_measure(job: Job) -> Measure:
    """Return what measures a student on the held-out prompts, with intervals over prompts."""
    rows = job.exchanges("held_out", greedy=False)
    teacher_states = [state for state in job.hidden(rows) if state is not None]
    pairs = [row.ids for row in rows]

    def measure(student: LoadedModel) -> dict[str, Any]:
        sums = compare(
            teacher_states,
            job.teacher_head,
            response_hidden(student, pairs),
            head_of(student),
            [response for _, response in pairs],
        )
        found = summarise(sums, resamples=2000, seed=0)
        return {name: interval.as_dict() for name, interval in found.items()}

    return measure


if __name__ == "__main__":
    main()
