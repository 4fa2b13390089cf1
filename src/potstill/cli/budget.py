"""What asking a server may cost: `--budget` and `--dry-run`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.common import checked_recipe

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
    typer.Option("--dry-run", help="Say what a server would be asked and charge; ask nothing."),
]


def with_budget(overrides: list[str] | None, budget: float | None) -> list[str]:
    """Return the overrides with the budget among them."""
    return [*(overrides or []), *([] if budget is None else [f"teacher.endpoint.budget={budget}"])]


def print_estimates(path: Path, overrides: list[str], out: Path | None) -> None:
    """Print what is left to ask and what it takes at most."""
    recipe = checked_recipe(path, overrides, out)

    from potstill.stages.estimates import server_estimates

    found = server_estimates(recipe, out or Path("runs") / recipe.name)
    currency = recipe.cost.currency
    for label, one in found:
        typer.echo(
            f"{label}: {one.responses} to {one.prompts} prompts, about {one.prompt_tokens} prompt "
            f"tokens, at most {one.most_response_tokens} response tokens"
            + _money(one.money, currency)
        )
    prices = [one.money for _, one in found]
    total = None if None in prices else sum(price for price in prices if price is not None)
    typer.echo(f"in all{_money(total, currency) or ': prices are not stated'}; nothing was asked")


def _money(amount: float | None, currency: str) -> str:
    from potstill.report.words import money

    return "" if amount is None else f": at most {money(amount, currency)}"
