"""`potstill distill`: a recipe, from prompts to report."""

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
from potstill.cli.minutes import Minutes, Plan, with_minutes
from potstill.cli.terms import IntentOption, intent_override


@handled
def distill(
    recipe: RecipePath,
    out: Out = None,
    overrides: Overrides = None,
    fresh: Fresh = False,
    redo: Redo = False,
    minutes: Minutes = None,
    plan: Plan = None,
    budget: Budget = None,
    intent: IntentOption = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Distil as a recipe says: collect, curate, shrink, train, evaluate, report.

    Run again after a stop, it goes on where it was; a finished run is left as it is.
    """
    overrides = with_minutes(overrides, minutes, plan)
    overrides = intent_override(with_budget(overrides, budget), intent)
    if dry_run:
        print_estimates(recipe, overrides, out, fresh=fresh, redo=redo)
        return
    run = distil(recipe, overrides, out, fresh=fresh, redo=redo, until=None, quiet=quiet, plan=plan)

    from potstill.cli.run_view import print_outcome

    print_outcome(run.root)
