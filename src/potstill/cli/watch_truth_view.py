"""What a search of the watch found, held to the truth, in lines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from potstill.text.counts import many

if TYPE_CHECKING:
    from potstill.runs.demo_watch import WatchDemo
    from potstill.runs.watch_truth import CampaignOutcome


def print_watch_demo(found: WatchDemo) -> None:
    """Print what became of each hidden campaign, what was false, and where the pages lie."""
    named = sum(one.named for one in found.campaigns)
    typer.echo(f"\nHeld to the truth: {named} of {len(found.campaigns)} campaigns named.")
    for one in found.campaigns:
        print_outcome(one)
    typer.echo(
        f"{many(len(found.false), 'false case')} in {found.innocent:,} requests of innocents"
        + ("." if not found.false else ":")
    )
    for false in found.false:
        typer.echo(f"  {false.case_id}: {many(len(false.accounts), 'account')}, mostly innocent")
    typer.echo(f"\npage: {found.page}")
    typer.echo(f"all of it lies in {found.root}; go on with it: potstill watch cases {found.store}")


def print_outcome(one: CampaignOutcome) -> None:
    """Print one hidden campaign: how it works, what it leaves, whether and how it was named."""
    hidden = one.hidden
    leaves = _listed(hidden.leaves) or "nothing"
    typer.echo(
        f"  {hidden.name}, {many(len(hidden.accounts), 'account')}, "
        f"{many(sum(hidden.accounts.values()), 'request')}: {hidden.works[:1].lower()}"
        f"{hidden.works[1:]}. Its making leaves {leaves}."
    )
    if one.named:
        swept = f"; {many(one.swept, 'account')} with it that are not its own" if one.swept else ""
        typer.echo(
            f"    NAMED: {one.accounts} of its accounts, with {one.requests:.0%} of its requests, "
            f"held by {_listed(one.families)} ({', '.join(one.cases)}){swept}"
        )
    elif len(hidden.leaves) < 2:
        typer.echo("    missed, by design: one family of evidence alone names nobody")
    else:
        typer.echo("    missed")


def _listed(names: tuple[str, ...]) -> str:
    *others, last = names or ("",)
    return f"{', '.join(others)} and {last}" if others else last
