"""How small a routing student may be: its score beside its teacher's, by share of the parameters.

One search goes down from the teacher to each share (blocks and feed-forward channels go; the
vocabulary is that of recipes/task-labels.yaml). Each student is healed, trained as there,
and answers freshly drawn messages that no row it learnt from resembles. The teacher answers once.
Writes benchmarks/results/task_sizes.json. Run `make bench-recipes` first, for the teacher.

    python benchmarks/task_sizes.py [--shares 0.75 0.6 0.45 0.3] [--draw 4000000] [--rows 200]
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from common import write_results
from task_draw import answers, fresh_rows

from potstill.cli.common import progress_for
from potstill.evaluate.tasks import TaskRow, score_task
from potstill.evaluate.validation import validation
from potstill.models.memory import release_freed
from potstill.models.size import parameter_count
from potstill.recipe.io import read_recipe
from potstill.runs import distill as pipeline
from potstill.runs.parts import Parts
from potstill.runs.training import train_once
from potstill.shrink.choose import cuts_along
from potstill.shrink.cut import Cut
from potstill.shrink.text_needs import calibration_rows, token_weights
from potstill.shrink.trials import record
from potstill.work.rundir import RunDir
from shrink import make_untrained, until_stopped

SHARES = (0.75, 0.6, 0.45, 0.3)
SETTINGS = [
    "name=bench-task-sizes",
    "shrink.blocks=null",
    "shrink.ffn_channels=null",
    "shrink.parameters=0.5",
    "shrink.axes=[depth, ffn]",
    "shrink.step=0.1",
    "shrink.candidates=2",
]
RECIPE = Path(__file__).parents[1] / "recipes" / "task-labels.yaml"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--run", type=Path, default=Path("runs/bench-task-sizes"))
    parser.add_argument("--shares", type=float, nargs="+", default=SHARES, help="falling")
    parser.add_argument("--draw", type=int, default=4_000_000, help="number of the first row")
    parser.add_argument("--rows", type=int, default=200, help="rows of each queue")
    arguments = parser.parse_args()
    recipe = read_recipe(RECIPE, SETTINGS)
    pipeline.distill(recipe, arguments.run, until="collect", progress=progress_for(False))
    asked = fresh_rows(arguments.draw, arguments.rows)
    with RunDir.open(arguments.run, recipe) as run:
        parts = Parts(run, recipe, progress_for(True))
        rows = list(until_stopped(measured_rows(parts, asked, arguments.shares)))
        dtype = parts.opened.teacher.compute_dtype
        parts.store.close()
    claims = claims_of([row for row in rows if "comparison" in row])
    rows.append({"draw": arguments.draw, "recipe": recipe.model_dump(mode="json")})
    print(write_results("task_sizes", claims, rows, dtype))


def measured_rows(
    parts: Parts, asked: list[dict[str, str]], shares: Sequence[float]
) -> Iterator[dict[str, Any]]:
    """Yield one row for each student."""
    teacher = answers(parts.opened.teacher, asked, parts.recipe)
    whole = parameter_count(parts.opened.teacher.network)
    calibration = calibration_rows(parts.corpus, parts.recipe.shrink.calibration_tokens)
    weight_V = token_weights(parts.corpus)
    path = cuts_along(
        parts.opened.teacher,
        parts.recipe.shrink,
        calibration,
        weight_V,
        shares,
        measure=validation(parts.corpus),
        progress=parts.progress,
    )
    for share in shares:
        start = time.perf_counter()
        parts.vocabulary = None
        cut, _ = next(path)
        searched = time.perf_counter() - start
        figures = student_of(parts, cut, calibration, asked, teacher)
        figures |= {"share": share, "parameters_vs_teacher": figures["parameters"] / whole}
        seconds = time.perf_counter() - start
        yield figures | {"seconds_searching": searched, "seconds": seconds}
        print(f"{share:.0%}: {figures['comparison']} in {seconds:.0f} s", flush=True)
        release_freed()


def student_of(
    parts: Parts,
    cut: Cut,
    calibration: Sequence[Sequence[int]],
    asked: list[dict[str, str]],
    teacher: list[str],
) -> dict[str, Any]:
    """Make a student, train it, and score its answers beside the teacher's."""
    parameters = make_untrained(parts, cut, calibration)
    shutil.rmtree(parts.run.root / "checkpoints", ignore_errors=True)
    train_once(parts, parts.recipe.train, "checkpoints", parts.run.student)
    told = answers(parts.opened.student(parts.run.student), asked, parts.recipe)
    assert parts.recipe.task is not None
    scores = score_task(
        parts.recipe.task,
        [
            TaskRow(t, s, row["queue"], row["wording"])
            for t, s, row in zip(teacher, told, asked, strict=True)
        ],
    )
    what = record(cut, float("nan"))
    del what["kl"]
    return {"parameters": parameters, **what, **scores.model_dump(mode="json")}


def claims_of(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return {claim: {value, unit, runs}}: each student's score less its teacher's."""
    claims: dict[str, tuple[float, str]] = {}
    for row in rows:
        name, compared = f"{row['share']:.0%}".rstrip("%"), row["comparison"]
        claims[f"parameters_{name}"] = (row["parameters_vs_teacher"], "ratio")
        claims[f"difference_{name}"] = (compared["difference"], "share")
        claims[f"difference_low_{name}"] = (compared["interval"][0], "share")
        claims[f"difference_high_{name}"] = (compared["interval"][1], "share")
    return {key: {"value": value, "unit": unit, "runs": 1} for key, (value, unit) in claims.items()}


if __name__ == "__main__":
    main()
