"""A run directory, read without locking it, and printed."""

from __future__ import annotations

import shlex
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
from potstill.report import words
from potstill.report.run.headline import headline
from potstill.report.run.names import by_gold, left_out
from potstill.report.tables import clean
from potstill.text.tool_calls import message_text
from potstill.work.evaluation import Evaluation
from potstill.work.evaluation_file import read_evaluation
from potstill.work.figures import Estimate
from potstill.work.run_recipe import RECIPE_FILE
from potstill.work.rundir import RunDir

_PLAIN_WIDTH = 100  # columns where the output is no terminal


@dataclass(frozen=True)
class Standing:
    """What a run directory holds: finished stages, the last logged record, the evaluation."""

    root: Path
    recipe: Recipe
    stages: dict[str, Any]
    last: dict[str, Any]
    evaluation: Evaluation | None
    finished: bool


def read(path: Path) -> Standing:
    """Return what a run directory holds; `path` may be the name of a run in runs/.

    Raises PotstillError where there is no run.
    """
    root = find(path)
    run = RunDir.reading(root)
    records = run.metrics()
    return Standing(
        root=root,
        recipe=run.recipe,
        stages=_without_items(run.recorded()),
        last=records[-1] if records else {},
        evaluation=read_evaluation(run.evaluation_path),
        finished=run.manifest_path.is_file(),
    )


def _without_items(records: dict[str, Any]) -> dict[str, Any]:
    """Return what is shown of records: not the numbers of each prompt, which fill files."""
    evaluated = records.get("evaluate")
    if not isinstance(evaluated, dict):
        return records
    return {**records, "evaluate": {k: v for k, v in evaluated.items() if k != "items"}}


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
    """Return all of it as JSON values, the evaluation as it is in its file."""
    run = RunDir(standing.root, standing.recipe, None)
    return {
        "run": str(standing.root),
        "finished": standing.finished,
        "stages": standing.stages,
        "last": standing.last,
        "evaluation": read_object(run.evaluation_path, "run `potstill evaluate` again"),
        "recipe": standing.recipe.model_dump(mode="json"),
    }


def print_outcome(root: Path, *, sample: bool = False) -> None:
    """Print what a finished run is remembered by: headline, a sample pair, the report's path."""
    standing, console = read(root), console_for_output()
    run = RunDir(root, standing.recipe)
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
    report = RunDir(standing.root, standing.recipe).report_path
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


def _print_sample(console: Console, evaluation: Evaluation) -> None:
    if not evaluation.samples:
        return
    pair = evaluation.samples[0]
    prompt = " / ".join(message_text(m) for m in pair.messages)
    theirs = "right" if by_gold(evaluation) else "teacher"
    for name, text in (("prompt", prompt), (theirs, pair.teacher), ("student", pair.student)):
        shown = nothing_said(text) or clean(text)
        console.print(Text(f"{name:8} ", style="bold").append(Text(shown, style="none")))
    console.print()


def _fidelity(evaluation: Evaluation) -> Table:
    held_out, models = evaluation.held_out, evaluation.models
    lacking = words.in_brackets(left_out(held_out.left_out))
    title = f"Fidelity on {held_out.prompts} held-out prompts{lacking}, with 95% intervals"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    heads = ("KL per token", "top-1 agreement", "perplexity", "parameters", "on disk", "tokens/s")
    for head in heads:
        table.add_column(head, justify="right")
    for name, model in (
        ("teacher", models.teacher),
        ("student", models.student),
        ("before training", models.untrained),
        ("cut, not healed", models.pruned),
        ("text only", models.cross_entropy),
    ):
        if model is not None:
            table.add_row(
                name,
                _interval(model.kl_per_token, words.nats),
                _interval(model.top1_agreement, words.percent),
                _interval(model.perplexity),
                words.count(model.params),
                words.size(model.bytes),
                words.significant(model.decode_tok_s),
            )
    return table


def _interval(figure: Estimate | None, spell: words.Spell = words.significant) -> str:
    if figure is None:
        return words.NOTHING
    return "\n".join(part for part in (spell(figure.value), words.ends(figure, spell)) if part)


def _cost(evaluation: Evaluation) -> Table:
    table = Table(title="Cost", title_justify="left", box=None, pad_edge=False)
    table.add_column("")
    for head in ("operations", "tokens", "time", "energy", "money"):
        table.add_column(head, justify="right")
    cost = evaluation.cost
    for name, stage in (
        ("collection", cost.collection),
        ("shrink", cost.shrink),
        ("training", cost.training),
        ("evaluation", cost.evaluation),
        ("total", cost.total),
    ):
        if stage is not None:
            table.add_row(
                name,
                words.scientific(stage.flops),
                words.count(stage.tokens),
                words.duration(stage.seconds),
                words.energy(stage.joules),
                words.money(stage.money, cost.currency),
            )
    scratch, nothing = cost.from_scratch, words.NOTHING
    table.add_row(
        "from scratch (estimated)",
        words.scientific(scratch.flops),
        words.count(scratch.tokens),
        nothing,
        nothing,
        words.money(scratch.money, cost.currency),
    )
    if cost.parent is not None:
        name = "the model it began as (estimated)"
        table.add_row(name, words.scientific(cost.parent.flops), *[nothing] * 4)
    return table


def _collection(evaluation: Evaluation) -> str:
    found, parts = evaluation.collection, []
    if found is not None:
        parts = [
            f"{words.whole(found.exchanges)} exchanges",
            f"{words.whole(found.response_tokens)} response tokens",
            f"{words.significant(found.tokens_per_s)} tokens/s",
        ]
        if found.slots_busy_before_last_wave is not None:
            busy = words.percent(found.slots_busy_before_last_wave)
            parts.append(f"slots {busy} busy before the last wave")
    dropped = words.whole(evaluation.overlap.dropped_from_training)
    parts.append(f"{dropped} training prompts dropped for being near held-out ones")
    return f"collected: {', '.join(parts)}"
