"""What `potstill watch` prints of logs; never what anybody wrote, unless it was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from potstill.text.counts import many
from potstill.watch.evidence import CHOSEN_BY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from potstill.runs.watching import IngestReport
    from potstill.watch.case.models import CasesOfRun
    from potstill.watch.evidence import Campaign, CampaignsFound, SignalFinding
    from potstill.watch.ingest.inspecting import Inspection

_MOST_OTHERS = 5


def print_inspection(found: Inspection) -> None:
    """Print a log file by file, then what it lacks."""
    for one in found.files:
        if one.problem is not None:
            typer.echo(f"{one.name}: {one.problem}")
            continue
        tally = one.tally
        span = f", {tally.first} to {tally.last}" if tally.first else ""
        typer.echo(f"{one.name}: {one.form} ({one.why})")
        typer.echo(f"  {tally.kept} of {tally.rows} rows can be used{span}")
        for note in tally.notes():
            typer.echo(f"  {note}")
        for text in one.examples:
            typer.echo(f"  prompt: {text!r}")
    _others(found.passed_over)
    typer.echo(f"columns: {', '.join(found.there) or 'none'}")
    typer.echo(f"missing: {', '.join(found.missing) or 'none'}")
    typer.echo(_accounts(found))
    print_off(found.off)
    if not found.off:
        typer.echo("every signal can be used")


def print_ingest(found: IngestReport) -> None:
    """Print what a store took in."""
    for one in found.files:
        if one.problem is not None:
            typer.echo(f"{one.name}: nothing taken: {one.problem}")
        elif one.again:
            typer.echo(f"{one.name}: there already")
        else:
            typer.echo(
                f"{one.name}: {one.tally['kept']} of {one.tally['rows']} rows, as {one.form}"
            )
            for note in one.notes:
                typer.echo(f"  {note}")
    _others(found.passed_over)
    if found.accounts is not None:
        counts = ", ".join(f"{name}: {count}" for name, count in found.accounts.items())
        typer.echo(f"table of accounts: {counts}")
    rows = sum(found.days.values())
    span = f" of {len(found.days)} days, {min(found.days)} to {max(found.days)}" if rows else ""
    typer.echo(f"{found.into} ({found.privacy}) holds {rows} requests{span}")


def print_campaigns(found: CampaignsFound) -> None:
    """Print the campaigns of a run, ranked, in sentences."""
    span = f"{found.days[0]} to {found.days[-1]}"
    typer.echo(
        f"{found.requests} requests of {found.parties} parties, {span}: "
        f"{many(len(found.candidates), 'group')} tested, "
        f"{many(len(found.campaigns), 'campaign')} found"
    )
    for rank, campaign in enumerate(found.campaigns, 1):
        _campaign(rank, campaign)
    if found.campaigns:
        typer.echo(
            f"At most {found.false_expected:.2g} of them are expected to be false (a false "
            f"discovery rate of {found.level:g}, against groups of strangers; what joins people "
            "innocently has to be looked at)."
        )
    for note in found.notes:
        typer.echo(note)
    print_off(found.off)


def print_cases(found: CasesOfRun, place: Path) -> None:
    """Print the cases of a run, open ones first, and where they were written."""
    typer.echo(
        f"{many(found.requests, 'request')} of {found.parties:,} parties, {found.days[0]} to "
        f"{found.days[-1]}: {many(found.open, 'open case')}"
    )
    for one in found.cases:
        new = "new" if one.new else one.status
        typer.echo(f"{one.rank}. {one.case_id} ({new}): {one.sentence}")
        if one.status == "open":
            typer.echo(f"   {one.strong} strong members; may be done: {one.action}")
        print_since_closed(one.since_closed)
    if found.cases:
        typer.echo(
            f"At most {found.false_expected:.2g} of them are expected to be false; what joins "
            "people innocently has to be looked at."
        )
    for case_id in found.not_found:
        typer.echo(f"{case_id}: found before, and not in this run")
    print_allowed(found.allowed)
    for note in found.notes:
        typer.echo(note)
    typer.echo(f"written to {place}; begin with {place / 'cases.html'}")


def print_off(off: Mapping[str, Sequence[str]]) -> None:
    """Print the signals that were off, each with what it lacks."""
    for signal, lacking in off.items():
        typer.echo(f"off: {signal} (needs {', '.join(lacking)})")


def print_allowed(allowed: int) -> None:
    """Print how many accounts were left out, if any."""
    if allowed:
        typer.echo(f"{many(allowed, 'account')} on the allow-list left out")


def print_since_closed(since_closed: int) -> None:
    """Print how much a closed case has grown, if it has."""
    if since_closed:
        typer.echo(f"   {many(since_closed, 'account')} more than when it was closed")


def _campaign(rank: int, campaign: Campaign) -> None:
    families = " and ".join(campaign.families)
    typer.echo(
        f"{rank}. {campaign.campaign_id}: {len(campaign.accounts)} accounts made "
        f"{campaign.requests} requests; held by {families} (e = 10^{campaign.log10_e:.1f})"
    )
    best = campaign.candidates[0]
    typer.echo(
        f"   chosen by {CHOSEN_BY[best.chosen_by]}: {len(best.parties)} parties, of which "
        f"{len(best.carried_by)} carry what holds; tested by others:"
    )
    for signal in best.signals:
        if signal.chosen or (signal.log10_e is not None and signal.log10_e > 0):
            typer.echo(f"   {_signal(signal)}")
    left = ", ".join(f"{name} 10^{log10_e:.1f}" for name, log10_e in best.without.items())
    typer.echo(f"   e without one family: {left}")


def _signal(one: SignalFinding) -> str:
    worth = (
        "what chose the group: no evidence" if one.log10_e is None else f"e = 10^{one.log10_e:.1f}"
    )
    return (
        f"{one.signal}: {one.observed:g} where strangers would show {one.expected:g} "
        f"({one.null}; {worth})"
    )


def _accounts(found: Inspection) -> str:
    text = f"accounts: {found.accounts['in the log']} in the log"
    if found.unknown is None:
        return f"{text}; no table of accounts was given (--accounts)"
    aside = "".join(f", {count} set aside: {why}" for why, count in found.accounts_aside.items())
    return (
        f"{text}, {found.accounts['in the table']} in the table{aside}; {found.unknown} of the "
        f"log's are not in it; its columns: {', '.join(found.accounts_there)}"
    )


def _others(names: tuple[str, ...]) -> None:
    if names:
        more = " and more" if len(names) > _MOST_OTHERS else ""
        typer.echo(f"{len(names)} other files passed over: {', '.join(names[:_MOST_OTHERS])}{more}")
