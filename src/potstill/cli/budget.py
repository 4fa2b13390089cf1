"""What asking a server may cost: `--budget` and `--dry-run`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.common import checked_recipe, progress_for

if TYPE_CHECKING:
    from potstill.collect.served.pending import AskingEstimate

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


def print_estimates(
    path: Path,
    overrides: list[str],
    out: Path | None,
    *,
    fresh: bool = False,
    redo: bool = False,
    until: str | None = None,
) -> None:
    """Print what is left to ask and what it takes at most."""
    recipe = checked_recipe(path, overrides, out, fresh=fresh)

    from potstill.runs.dry_run import dry_run

    progress = progress_for(quiet=False)
    planned = dry_run(recipe, out, fresh=fresh, redo=redo, until=until, progress=progress)
    typer.echo(f"checked: files, templates, models and sizes; {_prompts(planned.prompts)}")
    found = planned.asked
    if not found:
        typer.echo("no server is asked, and nothing was")
        return
    for line in estimate_lines(found, recipe.cost.currency):
        typer.echo(line)


def estimate_lines(found: Sequence[tuple[str, AskingEstimate]], currency: str) -> list[str]:
    """Return a line for each part and one for all, whose figures are the sums of those above."""
    costs = _rounded_up([one.money for _, one in found])
    lines = [
        f"{label}: {one.responses:,} responses to {one.prompts:,} prompts, {_tokens([one])}"
        + ("" if cost is None else f": at most {cost:f} {currency}")
        for (label, one), cost in zip(found, costs, strict=True)
    ]
    every = [one for _, one in found]
    known = [cost for cost in costs if cost is not None]
    money = f"at most {sum(known):f} {currency}" if len(known) == len(every) else "no prices stated"
    responses = sum(one.responses for one in every)
    return [
        *lines,
        f"in all: {responses:,} responses, {_tokens(every)}: {money}; nothing was asked",
    ]


def _tokens(estimates: Sequence[AskingEstimate]) -> str:
    prompt = sum(one.prompt_tokens for one in estimates)
    response = sum(one.most_response_tokens for one in estimates)
    return f"about {prompt:,} prompt tokens, at most {response:,} response tokens"


def _rounded_up(amounts: Sequence[float | None]) -> list[Decimal | None]:
    """Return amounts as they are shown: rounded up to as many decimals as the sum of them needs."""
    total = sum(amount for amount in amounts if amount is not None)
    decimals = 2 if total <= 0 else min(8, max(2, 2 - math.floor(math.log10(total))))
    unit = Decimal(1).scaleb(-decimals)
    return [
        None if amount is None else Decimal(repr(amount)).quantize(unit, rounding=ROUND_CEILING)
        for amount in amounts
    ]


def _prompts(counts: Mapping[str, int] | None) -> str:
    if counts is None:
        return "the prompts are not known before the run"
    named = {"train": "training", "validation": "validation", "held_out": "held-out"}
    return ", ".join(f"{counts.get(key, 0):,} {word}" for key, word in named.items()) + " prompts"
