"""`potstill trace`: plan, run, verify and hand over a test of who a model was distilled from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.common import AsJson, Debug, Fresh, Quiet, echo_json, handled, progress_for

app = typer.Typer(
    help="Prove, or fail to prove, that a model was distilled from yours.", no_args_is_help=True
)

TracePath = Annotated[
    Path, typer.Argument(metavar="TRACE", help="A trace's directory, or the name of one in runs/.")
]


@app.callback()
def root() -> None:
    """Prove, or fail to prove, that a model was distilled from yours."""


@app.command()
@handled
def plan(
    settings: Annotated[
        Path, typer.Argument(metavar="TRACE.YAML", help="What is to be tested, a YAML file.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="The trace's directory; without it runs/NAME."),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Say what it takes and may find, and fix nothing."),
    ] = False,
    fresh: Fresh = False,
    quiet: Quiet = False,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Fix a plan before anything is asked, and note it in the teacher's chain.

    What it takes and may find is told first; --dry-run stops there.
    """
    from potstill.recipe.io import read_trace

    config = read_trace(settings)

    from potstill.cli import trace_view
    from potstill.runs.verdict import plan_trace, preview_trace

    if dry_run:
        told = preview_trace(config, progress_for(True))
        typer.echo("\n".join(told or ["nothing is asked of the suspect but its weights"]))
        return
    fixed = plan_trace(config, out, fresh=fresh, progress=progress_for(quiet))
    if json:
        echo_json(trace_view.plan_as_json(fixed))
    else:
        trace_view.print_plan(fixed)


@app.command()
@handled
def run(
    trace: TracePath,
    token: Annotated[
        list[Path] | None,
        typer.Option(
            "--token",
            metavar="TSR",
            help="A timestamp (RFC 3161) of plan.json, or of a digest in it. May be repeated.",
        ),
    ] = None,
    authority: Annotated[
        list[Path] | None,
        typer.Option("--authority", metavar="PEM", help="The timestamp authority's certificates."),
    ] = None,
    quiet: Quiet = False,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Ask what the plan asks, and come to a verdict; a run that was stopped goes on."""
    from potstill.cli import trace_view
    from potstill.runs.verdict import run_trace

    folder = trace_view.folder_of(trace)
    verdict = run_trace(
        folder,
        tokens=tuple(token or ()),
        authorities=tuple(authority or ()),
        progress=progress_for(quiet),
    )
    if json:
        echo_json(verdict.model_dump(mode="json", by_alias=True))
    else:
        trace_view.print_verdict(verdict, folder)


@app.command()
@handled
def verify(
    bundle: Annotated[
        Path,
        typer.Argument(metavar="BUNDLE", help="A bundle's folder or .zip file, or a trace's own."),
    ],
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", metavar="KEY", help="The key of the epoch: every score is made again with it."
        ),
    ] = None,
    epoch: Annotated[
        str | None,
        typer.Option("--epoch", metavar="NAME", help="Which epoch of a master key it is."),
    ] = None,
    texts: Annotated[
        list[Path] | None,
        typer.Option(
            "--texts",
            metavar="JSONL",
            help="The marked texts of a reading, where the owner discloses them. May be repeated.",
        ),
    ] = None,
    order_secret: Annotated[
        Path | None,
        typer.Option(
            "--order-secret",
            metavar="FILE",
            help="The secret of a training's order: its steps are planned again with it.",
        ),
    ] = None,
    authority: Annotated[
        list[Path] | None,
        typer.Option(
            "--authority",
            metavar="PEM",
            help="Certificates that you trust for timestamps, in place of the bundle's own.",
        ),
    ] = None,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Check a bundle: digests, chain, order and arithmetic; with the key the scores too."""
    from potstill.cli import trace_view
    from potstill.runs.verified_trace import Given

    given = Given(key, epoch, tuple(texts or ()), tuple(authority or ()), order_secret)
    if json:
        echo_json(trace_view.verified_as_json(bundle, given))
    else:
        trace_view.print_verified(bundle, given)


@app.command()
@handled
def notice(
    trace: TracePath,
    disclose: Annotated[
        Path | None,
        typer.Option(
            "--disclose",
            metavar="KEY",
            help="Retire this epoch's key, and put it into the bundle: whoever has it can write "
            "its marks from then on.",
        ),
    ] = None,
    epoch: Annotated[
        str | None,
        typer.Option("--epoch", metavar="NAME", help="Which epoch of a master key it is."),
    ] = None,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Print the notice of a verdict: its claim, strength, doubts, and how to check it."""
    from potstill.cli import trace_view

    trace_view.print_notice(trace, disclose, epoch, as_json=json)
