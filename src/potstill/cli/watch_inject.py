"""`potstill watch inject`: would a campaign have been caught in one's own traffic?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.common import AsJson, Debug, Quiet, echo_json, handled
from potstill.cli.watch import KeyFile

Store = Annotated[Path, typer.Argument(metavar="DIR", help="The store. It is only read.")]
Into = Annotated[
    Path, typer.Option("--into", metavar="DIR", help="Where the copy goes, a new directory.")
]
Mechanisms = Annotated[
    list[str] | None,
    typer.Option(
        "--mechanism",
        metavar="NAME",
        help="How its accounts act together: sharded (without it), many_templates, paraphrased, "
        "scheduled, failover, relay, untemplated, unlinked; turns, tongues, generations, grading, "
        "which no threshold was chosen on. Each one named is a campaign.",
    ),
]
Accounts = Annotated[int, typer.Option("--accounts", metavar="N", help="Of each campaign.")]
Rate = Annotated[
    float | None,
    typer.Option(
        "--rate",
        metavar="N",
        help="Requests an account and day; without it each asks as much as an account of yours.",
    ),
]
Mix = Annotated[
    float, typer.Option("--mix", metavar="SHARE", help="Of its requests, those copied from others.")
]
Work = Annotated[
    str | None,
    typer.Option(
        "--work",
        metavar="KIND",
        help="What its prompts are like, for example coding_harness, evaluation_suite, "
        "synthetic_data, llm_judge; drawn without it.",
    ),
]
FirstDay = Annotated[
    str | None, typer.Option("--first-day", metavar="DATE", help="Its first day; else the store's.")
]
LastDay = Annotated[
    str | None, typer.Option("--last-day", metavar="DATE", help="Its last day; else the store's.")
]
Products = Annotated[
    list[str] | None,
    typer.Option("--product", metavar="NAME", help="A product that it uses; else all."),
]
Seed = Annotated[
    int, typer.Option("--seed", metavar="N", help="What is drawn; the same gives the same.")
]
Level = Annotated[
    float, typer.Option("--level", metavar="RATE", help="The false discovery rate of the search.")
]


def add_to(app: typer.Typer) -> None:
    """Add the verb to those of the watch."""
    app.command()(handled(inject))


def inject(
    store: Store,
    into: Into,
    mechanism: Mechanisms = None,
    accounts: Accounts = 100,
    rate: Rate = None,
    mix: Mix = 0.25,
    work: Work = None,
    first_day: FirstDay = None,
    last_day: LastDay = None,
    product: Products = None,
    seed: Seed = 0,
    level: Level = 0.05,
    key: KeyFile = None,
    quiet: Quiet = False,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Put simulated campaigns into a copy of a store, search it, and say whether they are named.

    Exit status 0 where each was named, 3 where one was missed, 2 for an error.
    """
    from potstill.cli import watch_truth_view
    from potstill.runs.watch_inject import inject as injecting
    from potstill.runs.watch_inject_wanted import InjectWanted

    wanted = InjectWanted(
        store, into, tuple(mechanism or ("sharded",)), accounts, rate, mix, work,
        first_day, last_day, tuple(product or ()), seed, level, key,
    )  # fmt: skip
    tell = (lambda line: None) if quiet else (lambda line: typer.echo(line, err=True))
    found = injecting(wanted, tell)
    if json:
        echo_json(watch_truth_view.injected_as_json(found))
    else:
        watch_truth_view.print_injected(found)
    if found.missed:
        raise typer.Exit(3)
