"""`potstill store`: what lies in a run's exchange store."""

from __future__ import annotations

import typer

from potstill.cli.common import AsJson, Debug, RunPath, echo_json, handled

app = typer.Typer(help="Look into a run's exchange store.", no_args_is_help=True)


@app.callback()
def root() -> None:
    """Look into a run's exchange store."""


@app.command()
@handled
def stats(run: RunPath, json: AsJson = False, debug: Debug = False) -> None:
    """Print how many exchanges and targets are stored, and the bytes a position they take."""
    from potstill.cli import store_view

    found = store_view.read(run)
    if json:
        echo_json(found)
    else:
        store_view.print_stats(found)
