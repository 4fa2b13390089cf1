"""The verbs, put together."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from potstill.cli import (
    chat,
    collect,
    curate,
    demo,
    distill,
    evaluate,
    export,
    recipe,
    serve,
    show,
    store,
    train,
)

app = typer.Typer(
    name="potstill",
    help="Distil a small language model from a larger one, and report what it kept and cost.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for verb in (
    demo.demo,
    distill.distill,
    collect.collect,
    curate.curate,
    train.train,
    evaluate.evaluate,
    chat.chat,
    export.export,
    serve.serve,
    show.show,
    recipe.recipe,
):
    app.command()(verb)
app.add_typer(store.app, name="store")


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"potstill {version('potstill')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Distil a small language model from a larger one, and report what it kept and cost."""


def run() -> None:
    """Run the command line and exit."""
    try:
        app()
    except BrokenPipeError:
        # Whoever read our output (`| head`) has gone; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
