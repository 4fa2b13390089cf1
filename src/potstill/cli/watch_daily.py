"""`potstill watch daily`: what a scheduled run does each morning."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from potstill.cli.common import AsJson, Debug, Quiet, echo_json, handled, progress_for
from potstill.cli.watch import KeyFile

if TYPE_CHECKING:
    from potstill.watch.days.report import DailyCase, DailyReport


def add_to(app: typer.Typer) -> None:
    """Add the verb to those of the watch."""
    app.command()(handled(daily))


def daily(
    store: Annotated[Path, typer.Argument(metavar="DIR", help="The store.")],
    as_of: Annotated[
        str | None,
        typer.Option(
            "--as-of", metavar="DATE", help="The last day to look at; else the last that is over."
        ),
    ] = None,
    level: Annotated[
        float,
        typer.Option("--level", metavar="RATE", help="The false discovery rate of all days."),
    ] = 0.05,
    key: KeyFile = None,
    quiet: Quiet = False,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Follow campaigns from day to day: only days that are new or have changed are looked at.

    Exit status 0 where no case is open, 3 where one is, 2 for an error.
    """
    from potstill.runs.watch_daily import DailyWanted, follow_store

    found = follow_store(DailyWanted(store, as_of, level, key), progress_for(quiet or json))
    if json:
        echo_json(found.model_dump(mode="json", by_alias=True))
    else:
        _print(found)
    if found.open:
        raise typer.Exit(3)


def _print(found: DailyReport) -> None:
    from potstill.cli.watch_view import print_allowed, print_off
    from potstill.text.counts import many

    typer.echo(
        f"{many(found.requests, 'request')}, {found.days[0]} to {found.days[-1]}, of which "
        f"{many(len(found.computed), 'day')} looked at now: {many(found.followed, 'candidate')} "
        f"followed, {found.stand} stand, {many(found.open, 'open case')}"
    )
    if found.again:
        typer.echo(
            f"something had changed on {found.again[0]} or before: "
            f"{many(len(found.again), 'day')} looked at again"
        )
    for case in found.cases:
        _case(case)
    if found.cases:
        typer.echo(
            f"Of all cases of all days, however often somebody looks, a share of {found.level:g} "
            "is expected to be false at most, against groups of strangers; what joins people "
            "innocently has to be looked at."
        )
    if found.undeclared:
        typer.echo(
            f"{many(found.undeclared, 'candidate')} that would be named fit customers who declared "
            "no tenant, and are not"
        )
    for case_id in found.not_found:
        typer.echo(f"{case_id}: found before, and not by these days")
    if found.left_out:
        typer.echo(f"left out, since not over or not asked for: {', '.join(found.left_out)}")
    print_allowed(found.allowed)
    for note in found.notes:
        typer.echo(note)
    print_off(found.off)


def _case(case: DailyCase) -> None:
    from potstill.cli.watch_view import print_since_closed
    from potstill.text.counts import many
    from potstill.watch.evidence import CHOSEN_BY

    best = case.candidates[0]
    held = " and ".join(case.families) or "no family by itself"
    typer.echo(
        f"{case.case_id} ({'new' if case.new else case.status}): "
        f"{many(len(case.accounts), 'account')}, {many(case.requests, 'request')}; held by {held} "
        f"(e = 10^{case.log10_e:.1f})"
    )
    print_since_closed(case.since_closed)
    typer.echo(
        f"   chosen on {best.chosen_on} by {CHOSEN_BY[best.chosen_by]}: "
        f"{len(best.parties)} parties; stands since {best.stands_since}"
    )
    for part in best.parts:
        if part.log10_e > 0:
            typer.echo(f"   {part.part}: e = 10^{part.log10_e:.1f} ({part.counts})")
