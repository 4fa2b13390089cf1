"""A run directory, read without locking it, and printed."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from potstill.cli.common import no_run_named, no_run_yet, nothing_said
from potstill.cli.progress_view import figure
from potstill.durable import read_object
from potstill.errors import PotstillError
from potstill.recipe import Recipe
from potstill.recipe.io import read_recipe
from potstill.report import words
from potstill.report.headline import by_gold, headline
from potstill.report.tables import clean
from potstill.text.tool_calls import message_text
from potstill.work.run_recipe import RECIPE_FILE
from potstill.work.rundir import RunDir

_PLAIN_WIDTH = 100  # columns where the output is no terminal
_MODELS = {
    "teacher": "teacher",
    "student": "student",
    "untrained": "before training",
    "pruned": "cut, not healed",
    "cross_entropy": "text only",
}
_STAGES = {
    "collection": "collection",
    "shrink": "shrink",
    "training": "training",
    "evaluation": "evaluation",
    "total": "total",
    "from_scratch": "from scratch (estimated)",
}


@dataclass(frozen=True)
class Standing:
    """What a run directory holds: finished stages, the last logged record, the evaluation."""

    root: Path
    recipe: Recipe
    stages: dict[str, dict[str, Any]]
    last: dict[str, Any]
    evaluation: dict[str, Any] | None
    finished: bool


def read(path: Path) -> Standing:
    """Return what a run directory holds; `path` may be the name of a run in runs/.

    Raises PotstillError where there is no run.
    """
    root = find(path)
    recipe = read_recipe(root / RECIPE_FILE)
    run = RunDir(root, recipe, None)
    records = run.metrics()
    return Standing(
        root=root,
        recipe=recipe,
        stages=_stages(run),
        last=records[-1] if records else {},
        evaluation=read_object(run.evaluation_path, "delete it and run `potstill evaluate` again"),
        finished=run.manifest_path.is_file(),
    )


def find(path: Path) -> Path:
    """Return the run directory that a path or a run's name stands for."""
    for root in (path, Path("runs") / path):
        if (root / RECIPE_FILE).is_file():
            return root
    raise PotstillError(
        no_run_yet(path)
        or no_run_named(path)
        or f"{path} is no run directory (it has no {RECIPE_FILE}); "
        "give the directory that `potstill distill` printed"
    )


def as_json(standing: Standing) -> dict[str, Any]:
    """Return all of it as JSON values."""
    return {
        "run": str(standing.root),
        "finished": standing.finished,
        "stages": standing.stages,
        "last": standing.last,
        "evaluation": standing.evaluation,
        "recipe": standing.recipe.model_dump(mode="json"),
    }


def print_outcome(root: Path, *, sample: bool = False) -> None:
    """Print what a finished run is remembered by: headline, a sample pair, the report's path."""
    standing, console = read(root), console_for_output()
    run = RunDir(root, standing.recipe, None)
    if standing.evaluation is not None:
        console.print(Text(f"\n{headline(standing.evaluation)}\n"))
        if sample:
            _print_sample(console, standing.evaluation)
    if run.report_path.is_file():
        console.print(Text(f"report: {run.report_path}"), soft_wrap=True)
    console.print(Text(f"talk to it: potstill chat {shlex.quote(str(root))}"), soft_wrap=True)


def print_standing(root: Path) -> None:
    """Print which stages of a run are done and how to go on."""
    _print_standing(console_for_output(), read(root))


def print_run(standing: Standing) -> None:
    """Print a run: headline, fidelity, cost and collection, and where it stands."""
    console = console_for_output()
    evaluation = standing.evaluation
    _print_standing(console, standing)
    if evaluation is None:
        return
    console.print(Text(f"\n{headline(evaluation)}\n"))
    for table in (_fidelity(evaluation), _cost(evaluation)):
        if table.row_count:
            console.print(table)
            console.print()
    console.print(Text(_collection(evaluation)))
    report = RunDir(standing.root, standing.recipe, None).report_path
    if report.is_file():
        console.print(Text(f"report: {report}"), soft_wrap=True)


def console_for_output() -> Console:
    """Return the console, of a fixed width where the output is no terminal."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = _PLAIN_WIDTH
    return console


def _print_standing(console: Console, standing: Standing) -> None:
    name = standing.recipe.name
    if standing.finished:
        console.print(Text(f"{name} in {standing.root}: finished"), soft_wrap=True)
        return
    done = ", ".join(standing.stages) or "nothing yet"
    console.print(Text(f"{name} in {standing.root}: done so far: {done}"), soft_wrap=True)
    figures = {k: v for k, v in standing.last.items() if words.known(v)}
    if figures:
        shown = ", ".join(f"{k} {figure(v)}" for k, v in figures.items())
        console.print(Text(f"last record: {clean(shown)}"))
    recipe, root = (shlex.quote(str(p)) for p in (standing.root / RECIPE_FILE, standing.root))
    console.print(Text(f"go on with: potstill distill {recipe} --out {root}"), soft_wrap=True)


def _print_sample(console: Console, evaluation: Mapping[str, Any]) -> None:
    samples = evaluation.get("samples") or []
    if not samples:
        return
    pair = samples[0]
    prompt = " / ".join(message_text(m) for m in pair.get("messages", []))
    theirs = "right" if by_gold(evaluation) else "teacher"
    for name, text in (
        ("prompt", prompt),
        (theirs, pair.get("teacher", "")),
        ("student", pair.get("student", "")),
    ):
        shown = nothing_said(str(text)) or clean(str(text))
        console.print(Text(f"{name:8} ", style="bold").append(Text(shown, style="none")))
    console.print()


def _fidelity(evaluation: Mapping[str, Any]) -> Table:
    prompts = words.at(evaluation, "held_out.prompts")
    lacking = words.in_brackets(words.left_out(words.at(evaluation, "held_out.left_out")))
    title = f"Fidelity on {prompts} held-out prompts{lacking}, with 95% intervals"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    heads = ("KL per token", "top-1 agreement", "perplexity", "parameters", "on disk", "tokens/s")
    for head in heads:
        table.add_column(head, justify="right")
    for key, name in _MODELS.items():
        model = words.at(evaluation, f"models.{key}")
        if isinstance(model, Mapping):
            table.add_row(
                name,
                _interval(model.get("kl_per_token"), words.nats),
                _interval(model.get("top1_agreement"), words.percent),
                _interval(model.get("perplexity")),
                words.count(model.get("params")),
                words.size(model.get("bytes")),
                words.significant(model.get("decode_tok_s")),
            )
    return table


def _interval(figure: Any, spell: Callable[[float | None], str] = words.significant) -> str:
    value = words.value_of(figure)
    if value is None:
        return words.NOTHING
    span = words.span(figure, spell) if words.bounds_of(figure) else words.no_interval(figure)
    return "\n".join(part for part in (spell(value), span) if part)


def _cost(evaluation: Mapping[str, Any]) -> Table:
    table = Table(title="Cost", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for head in ("operations", "tokens", "time", "energy", "money"):
        table.add_column(head, justify="right")
    currency = str(words.at(evaluation, "cost.currency") or "USD")
    for key, name in _STAGES.items():
        row = words.at(evaluation, f"cost.{key}")
        if isinstance(row, Mapping):
            table.add_row(
                name,
                words.scientific(row.get("flops")),
                words.count(row.get("tokens")),
                words.duration(row.get("seconds")),
                words.energy(row.get("joules")),
                words.money(row.get("money"), currency),
            )
    parent = words.at(evaluation, "cost.parent")
    if isinstance(parent, Mapping):
        name = "the model it began as (estimated)"
        table.add_row(name, words.scientific(parent.get("flops")), *[words.NOTHING] * 4)
    return table


def _collection(evaluation: Mapping[str, Any]) -> str:
    facts = evaluation.get("collection") or {}
    busy = facts.get("slots_busy_before_last_wave", facts.get("slots_busy"))
    parts = [
        f"{words.whole(facts.get('exchanges'))} exchanges",
        f"{words.whole(facts.get('response_tokens'))} response tokens",
        f"{words.significant(facts.get('tokens_per_s'))} tokens/s",
    ]
    if words.known(busy):
        parts.append(f"slots {words.percent(busy)} busy before the last wave")
    overlap = words.at(evaluation, "overlap.dropped_from_training")
    if words.known(overlap):
        parts.append(
            f"{words.whole(overlap)} training prompts dropped for being near held-out ones"
        )
    return f"collected: {', '.join(parts)}"


def _stages(run: RunDir) -> dict[str, dict[str, Any]]:
    """Return what each finished stage recorded, in the order they finished."""
    files = sorted((run.root / "state").glob("*.json"), key=lambda f: (f.stat().st_mtime_ns, f))
    found = {file.stem: run.done(file.stem) for file in files}
    return {name: result for name, result in found.items() if result is not None}
