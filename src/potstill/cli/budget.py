"""What asking a server may cost: `--budget` and `--dry-run`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.common import checked_recipe, progress_for

Budget = Annotated[
    float | None,
    typer.Option(
        "--budget",
        metavar="MONEY",
        help="Most money that a server may be paid; it stops before more could be spent.",
    ),
]
DryRun = Annotated[
    bool,
    typer.Option(
        "--dry-run",
        help="Check what a run checks first, and say what a server would be asked and charge.",
    ),
]


def with_budget(overrides: list[str] | None, budget: float | None) -> list[str]:
    """Return the overrides with the budget among them."""
    return [*(overrides or []), *([] if budget is None else [f"teacher.endpoint.budget={budget}"])]


def print_estimates(path: Path, overrides: list[str], out: Path | None) -> None:
    """Print what is left to ask and what it takes at most."""
    recipe = checked_recipe(path, overrides, out)

    from potstill.pipeline import dry_run

    planned = dry_run(recipe, out, progress=progress_for(quiet=False))
    typer.echo(f"checked: files, templates, models and sizes; {_prompts(planned.prompts)}")
    found, currency = planned.asked, recipe.cost.currency
    if not found:
        typer.echo("no server is asked, and nothing was")
        return
    for label, one in found:
        typer.echo(
            f"{label}: {one.responses} to {one.prompts} prompts, about {one.prompt_tokens} prompt "
            f"tokens, at most {one.most_response_tokens} response tokens"
            + _money(one.money, currency)
        )
    prices = [one.money for _, one in found]
    total = None if None in prices else sum(price for price in prices if price is not None)
    typer.echo(f"in all{_money(total, currency) or ': prices are not stated'}; nothing was asked")


def _prompts(counts: Mapping[str, int] | None) -> str:
    if counts is None:
        return "the prompts are not known before the run"
    named = {"train": "training", "validation": "validation", "held_out": "held-out"}
    return ", ".join(f"{counts.get(key, 0):,} {word}" for key, word in named.items()) + " prompts"


def _money(amount: float | None, currency: str) -> str:
    from potstill.report.words import money

    return "" if amount is None else f": at most {money(amount, currency)}"
