"""`potstill show`: where a run stands and what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.common import Debug, handled


@handled
def show(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run directory, or the name of one in runs/.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print everything known as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Print a run's headline, fidelity, cost and collection; or where it stands."""
    from potstill.cli import run_view

    standing = run_view.read(run)
    if json:
        import json as encoder

        typer.echo(encoder.dumps(run_view.as_json(standing), indent=2, ensure_ascii=False))
    else:
        run_view.print_run(standing)
