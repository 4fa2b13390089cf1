"""A finished routing student on held-out messages that nobody has looked at before.

The recipe's held-out rows were looked at while it was settled. This draws others, leaves out what
resembles a row that teacher or student learnt from, has both models answer, and writes
benchmarks/results/task_draw.json. Run `make bench-recipes` first.

    python benchmarks/task_draw.py [--draw 3000000] [--rows 300]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from common import write_results

sys.path.insert(0, str(Path(__file__).parents[1] / "tools" / "tasks"))

import routing
from wording import WORDINGS

from potstill.cli.common import progress_for
from potstill.collect.sources import read_rows
from potstill.evaluate.samples import greedy_texts
from potstill.evaluate.tasks import TaskRow, score_task
from potstill.exchanges.overlap import overlap
from potstill.job import Job
from potstill.models.chat import prompt_ids
from potstill.models.loaded import LoadedModel
from potstill.recipe import Recipe
from potstill.recipe.io import read_recipe
from potstill.work.rundir import RunDir


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--run", type=Path, default=Path("runs/task-labels"))
    parser.add_argument("--draw", type=int, default=3_000_000, help="number of the first row")
    parser.add_argument("--rows", type=int, default=300, help="rows of each queue")
    arguments = parser.parse_args()
    rows = fresh_rows(arguments.draw, arguments.rows)
    recipe = read_recipe(arguments.run / "recipe.yaml")
    with RunDir.open(arguments.run, recipe) as run:
        job = Job(run, recipe, progress_for(False))
        teacher = answers(job.teacher, rows, recipe)
        student = answers(job.load_student(run.student), rows, recipe)
        dtype = job.teacher.compute_dtype
        job.store.close()
    assert recipe.task is not None
    asked = zip(teacher, student, rows, strict=True)
    scores = score_task(
        recipe.task, [TaskRow(t, s, row["queue"], row["wording"]) for t, s, row in asked]
    )
    compared = scores.comparison
    assert compared is not None
    claims = {
        "difference": compared.difference,
        "difference_low": compared.interval[0],
        "difference_high": compared.interval[1],
    }
    row = {"draw": arguments.draw, **scores.model_dump(mode="json")}
    found = {k: {"value": v, "unit": "share", "runs": 1} for k, v in claims.items()}
    print(write_results("task_draw", found, [row], dtype))
    print(compared)


def fresh_rows(first: int, count: int) -> list[dict[str, str]]:
    """Return messages unlike those that were learnt from, as many of each wording."""
    rows = [
        routing.row(queue, f"routing:{c}:{first + i}", wording=WORDINGS[i % 3])
        for c, queue in enumerate(routing.QUEUES)
        for i in range(count)
    ]
    learnt = [
        str(row.values["message"])
        for source in ("routing", "routing-unlabelled")
        for row in read_rows(source)
    ]
    near = set(overlap([row["message"] for row in rows], learnt).train_indices)
    return [row for i, row in enumerate(rows) if i not in near]


def answers(model: LoadedModel, rows: list[dict[str, str]], recipe: Recipe) -> list[str]:
    """Return a model's greedy answers, asked as the recipe asks."""
    assert recipe.task is not None
    system = str(recipe.prompts.system)
    asked = [
        [{"role": "system", "content": system}, {"role": "user", "content": row["message"]}]
        for row in rows
    ]
    ids = [prompt_ids(model, messages) for messages in asked]
    return greedy_texts(model, ids, max_tokens=recipe.task.max_tokens)


if __name__ == "__main__":
    main()
