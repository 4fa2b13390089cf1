"""What the verbs share of minutes: `--minutes` and `--plan`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.errors import PotstillError

if TYPE_CHECKING:
    from potstill.recipe import Recipe
    from potstill.runs.minutes.keeping import Clock

Minutes = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        metavar="N",
        help="Minutes that the whole run may take, from the start of this process on. How much is "
        "asked, healed on and trained is chosen for them; what the recipe states stays.",
    ),
]
Plan = Annotated[
    Path | None,
    typer.Option(
        "--plan",
        metavar="FILE",
        help="Do what an earlier run with --minutes did, and ask no clock: its state/minutes.json, "
        "or its directory.",
    ),
]


def with_minutes(
    overrides: list[str] | None, minutes: float | None, plan: Path | None
) -> list[str]:
    """Return the overrides with the minutes among them. Raises PotstillError for both options."""
    if minutes is not None and plan is not None:
        raise PotstillError(
            "--minutes and --plan cannot be combined: one chooses by the clock, the other does "
            "what was chosen before; leave one out"
        )
    return [*(overrides or []), *([] if minutes is None else [f"minutes={minutes:g}"])]


def clock_of(
    recipe: Recipe, plan: Path | None = None, *, foretell: bool = False
) -> tuple[Recipe, Clock]:
    """Return the recipe with what a plan says in it, and what its minutes are counted by."""
    from potstill.runs.minutes.clock import since_process_began
    from potstill.runs.minutes.fields import replayed
    from potstill.runs.minutes.keeping import Clock

    if plan is None:
        return recipe, Clock(since_process_began(), foretell=foretell)
    found, known = replayed(recipe, plan)
    return found, Clock(since_process_began(), replay=known)
