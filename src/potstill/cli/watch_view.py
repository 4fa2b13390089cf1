"""What `potstill watch` prints of logs; never what anybody wrote, unless it was asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from potstill.runs.watching import IngestReport
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
    for signal, lacking in found.off.items():
        typer.echo(f"off: {signal} (needs {', '.join(lacking)})")
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
