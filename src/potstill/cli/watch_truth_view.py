"""What a search of the watch found, held to the truth, in lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from potstill.cli.watch_view import print_off
from potstill.text.counts import listed, many

if TYPE_CHECKING:
    from potstill.runs.demo_watch import WatchDemo
    from potstill.runs.watch_inject import InjectReport
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


def print_injected(found: InjectReport) -> None:
    """Print whether each injected campaign would have been caught, and what was off."""
    named = len(found.campaigns) - found.missed
    typer.echo(
        f"{many(found.requests, 'request')} put into {found.into}, days {found.days[0]} to "
        f"{found.days[-1]}: {named} of {many(len(found.campaigns), 'campaign')} named"
    )
    for one in found.campaigns:
        print_outcome(one)
    if found.others:
        typer.echo(
            f"{many(found.others, 'campaign')} more named in the copy: of your own traffic, or "
            "false; `potstill watch find` on the store itself tells"
        )
    for note in found.notes:
        typer.echo(note)
    print_off(found.off)
    typer.echo(
        "One draw each: another --seed may come out otherwise. Accounts borrow rates, hours and "
        "looks from yours; the wording of prompts is made up."
    )


def injected_as_json(found: InjectReport) -> dict[str, Any]:
    """Return the same as JSON values; accounts are counted, not named."""
    return {
        "schema": "potstill/watch-inject/1",
        "into": str(found.into),
        "requests": found.requests,
        "days": list(found.days),
        "missed": found.missed,
        "campaigns": [
            {
                "name": one.hidden.name,
                "works": one.hidden.works,
                "accounts": len(one.hidden.accounts),
                "requests": sum(one.hidden.accounts.values()),
                "leaves": list(one.hidden.leaves),
                "named": one.named,
                "named_as": list(one.cases),
                "families": list(one.families),
                "accounts_named": one.accounts,
                "requests_named": one.requests,
                "swept": one.swept,
            }
            for one in found.campaigns
        ],
        "others": found.others,
        "off": {signal: list(lacks) for signal, lacks in found.off.items()},
        "notes": list(found.notes),
    }


def print_outcome(one: CampaignOutcome) -> None:
    """Print one hidden campaign: how it works, what it leaves, whether and how it was named."""
    hidden = one.hidden
    leaves = listed(hidden.leaves) or "nothing that can be seen here"
    typer.echo(
        f"  {hidden.name}, {many(len(hidden.accounts), 'account')}, "
        f"{many(sum(hidden.accounts.values()), 'request')}: {hidden.works[:1].lower()}"
        f"{hidden.works[1:]}. Its making leaves {leaves}."
    )
    if one.named:
        swept = f"; {many(one.swept, 'account')} with it that are not its own" if one.swept else ""
        typer.echo(
            f"    NAMED: {one.accounts} of its accounts, with {one.requests:.0%} of its requests, "
            f"held by {listed(one.families)} ({', '.join(one.cases)}){swept}"
        )
    elif len(hidden.leaves) < 2:
        typer.echo("    missed, by design: one family of evidence alone names nobody")
    else:
        typer.echo("    missed")
