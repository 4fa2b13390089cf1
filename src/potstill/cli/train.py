"""`potstill train`: a recipe up to and including this stage."""

from __future__ import annotations

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
def train(
    recipe: RecipePath,
    out: Out = None,
    overrides: Overrides = None,
    fresh: Fresh = False,
    redo: Redo = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Run what is left up to the training: collect, curate, shrink, train."""
    run = distil(recipe, overrides, out, fresh=fresh, redo=redo, until="train", quiet=quiet)

    from potstill.cli.run_view import print_standing

    print_standing(run.root)
