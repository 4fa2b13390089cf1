"""The verbs, put together."""

from __future__ import annotations

import io
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
    notice,
    recipe,
    serve,
    show,
    sign,
    store,
    terms,
    trace,
    train,
    verify,
    watch,
    watch_cases,
    watch_daily,
    watch_inject,
    watermark,
)
from potstill.errors import PotstillError

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
    verify.verify,
    sign.sign,
    notice.notice,
    recipe.recipe,
    terms.terms,
):
    app.command()(verb)
app.add_typer(store.app, name="store")
app.add_typer(watermark.app, name="watermark")
app.add_typer(trace.app, name="trace")
watch_cases.add_to(watch.app)
watch_daily.add_to(watch.app)
watch_inject.add_to(watch.app)
app.add_typer(watch.app, name="watch")


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
    show_any_letter()
    try:
        try:
            app()
        finally:
            # What is left to write fails here, where it can be said, and not after the last line.
            _flush()
    except BrokenPipeError:
        # Whoever read our output (`| head`) has gone; Python would complain again at exit.
        _silence()
        sys.exit(141)
    except OSError as error:
        from potstill.durable import os_reason

        reason = os_reason(error)
        if reason is None:
            raise
        _silence()
        print(f"error: cannot write the output: {reason}; send it elsewhere", file=sys.stderr)
        sys.exit(PotstillError.exit_code)


def show_any_letter() -> None:
    """Have output that cannot show a letter show its escape in place of stopping."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")


def _flush() -> None:
    if sys.stdout is not None and not sys.stdout.closed:
        sys.stdout.flush()


def _silence() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
