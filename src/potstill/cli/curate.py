"""`potstill curate`: a recipe up to and including this stage."""

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
def curate(
    recipe: RecipePath,
    out: Out = None,
    overrides: Overrides = None,
    fresh: Fresh = False,
    redo: Redo = False,
    quiet: Quiet = False,
    debug: Debug = False,
) -> None:
    """Say which answers the student learns from: collect, then mark each as kept or dropped."""
    run = distil(recipe, overrides, out, fresh=fresh, redo=redo, until="curate", quiet=quiet)

    from potstill.cli.run_view import print_standing

    print_standing(run.root)
