"""Write the README's results from the committed result files, so that it says nothing else.

python benchmarks/readme_results.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
START, END = "<!-- results -->", "<!-- /results -->"


# Tasks that students are compared on, by recipe.
TASKS = {
    "task-labels": "which queue a customer's message belongs to",
    "task-json": "what is ordered, as JSON",
}


def block(results: Path) -> str:
    """Return the results as Markdown, from the files in benchmarks/results."""
    return f"{demo(results)}\n\n{tasks(results)}"


def tasks(results: Path) -> str:
    """Return how the tasks' students do beside their teachers, from recipes.json."""
    found = json.loads((results / "recipes.json").read_text(encoding="utf-8"))
    machine = found["machine"]
    rows = {row["recipe"]: row for row in found["rows"]}
    lines = [
        f"Students for one job, on held-out rows, 95% intervals over rows, one run of "
        f"`make bench-recipes` on {found['date'][:10]} ({machine['cores']} cores, "
        f"{machine['compute_dtype']}, commit {found['commit']}):",
        "",
        "| Task | Parameters, of the teacher's | Teacher right | Student right | Difference | |",
        "|---|---|---|---|---|---|",
        *(line for name, title in TASKS.items() for line in _task(title, rows[name])),
        "",
        _drawn_again(results),
        "",
        *_sizes(results),
    ]
    return "\n".join(lines)


def _drawn_again(results: Path) -> str:
    """Return how the first of these students does on rows drawn after all was settled."""
    found = json.loads((results / "task_draw.json").read_text(encoding="utf-8"))["rows"][0]
    compared = found["comparison"]
    low, high = (f"{100 * end:+.1f}" for end in compared["interval"])
    return (
        "The recipe was settled with these rows in view. On others, drawn afterwards "
        f"(`make bench-task-draw`, n {compared['n']:,}), the first difference is "
        f"{100 * compared['difference']:+.1f} points ({low} to {high}): {compared['sentence']}."
    )


def _sizes(results: Path) -> list[str]:
    """Return the same task's students by size, from task_sizes.json."""
    found = json.loads((results / "task_sizes.json").read_text(encoding="utf-8"))
    rows = [row for row in found["rows"] if "comparison" in row]
    lines = [
        f"The same task by size (`make bench-task-sizes`, {found['date'][:10]}, commit "
        f"{found['commit']}): blocks and channels as one search found them, other rows again:",
        "",
        "| Parameters, of the teacher's | Teacher right | Student right | Difference | |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        scores = [row[model][row["score"]] for model in ("teacher", "student")]
        share = f"{row['parameters_vs_teacher']:.1%}"
        lines.append(_line((share,), scores, row["comparison"]))
    return lines


def _task(title: str, row: dict[str, Any]) -> list[str]:
    """Return the task's line, and one for each slice that is scored apart."""
    models, task = row["models"], row["task"]
    share = f"{models['student']['params'] / models['teacher']['params']:.1%}"
    scores = [task[model][task["score"]] for model in ("teacher", "student")]
    lines = [_line((title, share), scores, task["comparison"])]
    for one in task["slices"]:
        if one["comparison"]:
            scores = [one["teacher"], one["student"]]
            title = "the same, in wording of no row it learnt from"
            lines.append(_line((title, share), scores, one["comparison"]))
    return lines


def _line(heads: tuple[str, ...], scores: list[dict[str, Any]], compared: dict[str, Any]) -> str:
    right = [f"{score['value']:.1%}" for score in scores]
    low, high = (f"{100 * end:+.1f}" for end in compared["interval"])
    difference = f"{100 * compared['difference']:+.1f} ({low} to {high}) points"
    word = f"{compared['sentence']}, n {compared['n']:,}"
    return f"| {' | '.join((*heads, *right, difference, word))} |"


def demo(results: Path) -> str:
    """Return what `make demo` makes, from demo.json."""
    found = json.loads((results / "demo.json").read_text(encoding="utf-8"))
    claims = {name: claim["value"] for name, claim in found["claims"].items()}
    models = found["rows"][0]["models"]
    machine = found["machine"]
    kl, agreement = models["student"]["kl_per_token"], models["student"]["top1_agreement"]
    rows = [
        ("Parameters, of the teacher's", f"{claims['parameters_vs_teacher']:.1%}"),
        ("Same likeliest next token as the teacher", _interval(agreement, percent=True)),
        ("KL to the teacher, nats a token", _interval(kl)),
        ("that KL, of plain cutting's", f"{claims['kl_student_vs_pruned']:.2f}"),
        ("that KL, of the healed student's before training", _share(claims)),
        ("Time, whole command", f"{claims['seconds'] / 60:.1f} min"),
        ("Peak memory", f"{claims['peak_memory_gb']:.1f} GB"),
        ("Arithmetic, of training such a model from scratch (estimated)", _one_in(claims)),
    ]
    lines = [
        f"Measured on {kl['n']} held-out prompts, 95% intervals over prompts, one run of "
        f"`make bench-demo` on {found['date'][:10]} ({machine['cores']} cores, "
        f"{machine['compute_dtype']}, commit {found['commit']}):",
        "",
        "| `make demo` | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
    return "\n".join(lines)


def _interval(estimate: dict[str, Any], *, percent: bool = False) -> str:
    spell = "{:.1%}" if percent else "{:.3f}"
    text = spell.format(estimate["value"])
    if estimate["ci95"] is None:
        return f"{text} (no interval)"
    low, high = map(spell.format, estimate["ci95"])
    return f"{text} ({low} to {high})"


def _share(claims: dict[str, float]) -> str:
    return f"{claims['kl_student_vs_untrained']:.2f}"


def _one_in(claims: dict[str, float]) -> str:
    return f"1/{round(1 / claims['flops_vs_from_scratch'], -2):,.0f}"


def with_results(readme: str, results: Path) -> str:
    """Return the README with its results block written anew."""
    head, _, rest = readme.partition(START)
    _, _, tail = rest.partition(END)
    return f"{head}{START}\n{block(results)}\n{END}{tail}"


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(with_results(path.read_text(encoding="utf-8"), ROOT / "benchmarks/results"))
