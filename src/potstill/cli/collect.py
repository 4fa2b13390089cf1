"""`potstill collect`: a recipe up to and including this stage."""

from __future__ import annotations

from potstill.cli.budget import Budget, DryRun, print_estimates, with_budget
from potstill.cli.common import (
    Debug,
    Fresh,
    Out,
    Overrides,
    Quiet,
    RecipePath,
    Redo,
    distil,
    handled,
)


@handled
def collect(
    recipe: RecipePath,
    out: Out = None,
    overrides: Overrides = None,
    fresh: Fresh = False,
    redo: Redo = False,
    budget: Budget = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Ask the teacher: prompts in, exchanges and targets out."""
    overrides = with_budget(overrides, budget)
    if dry_run:
        print_estimates(recipe, overrides, out, fresh=fresh, redo=redo, until="collect")
        return
    run = distil(recipe, overrides, out, fresh=fresh, redo=redo, until="collect", quiet=quiet)

    from potstill.cli.run_view import print_standing

    print_standing(run.root)
