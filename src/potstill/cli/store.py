"""`potstill store`: what lies in a run's exchange store."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.common import Debug, handled

app = typer.Typer(help="Look into a run's exchange store.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Look into a run's exchange store."""


@app.command()
@handled
def stats(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run directory, or the name of one in runs/.")
    ],
    json: Annotated[bool, typer.Option("--json", help="Print everything as JSON.")] = False,
    debug: Debug = False,
) -> None:
    """Print how many exchanges and targets are stored, and the bytes a position they take."""
    from potstill.cli import store_view

    found = store_view.read(run)
    if json:
        import json as encoder

        typer.echo(encoder.dumps(found, indent=2))
    else:
        store_view.print_stats(found)
