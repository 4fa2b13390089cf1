"""`potstill watch`: what is in a service's logs, and taking them in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.common import AsJson, Debug, Quiet, echo_json, handled, progress_for

app = typer.Typer(
    help="Find campaigns of extraction in the traffic of a service.", no_args_is_help=True
)

Logs = Annotated[
    list[str],
    typer.Argument(
        metavar="LOGS...",
        help="Parquet, or lines of JSON (also .gz and .zst), and folders of these.",
    ),
]
Accounts = Annotated[
    Path | None,
    typer.Option("--accounts", metavar="FILE", help="Table of accounts: .parquet, .csv, .jsonl."),
]
Maps = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="COLUMN=FIELD",
        help="Take a column from a field of the log, for example account_id=attributes.tenant; of "
        "the table of accounts accounts.plan=tier. May be repeated.",
    ),
]
FormName = Annotated[
    str | None, typer.Option("--form", metavar="FORM", help="The form of every file, untold.")
]
Zone = Annotated[
    str, typer.Option("--zone", metavar="ZONE", help="The zone of times that state none.")
]
WithText = Annotated[
    bool,
    typer.Option("--with-text", help="Let prompts and lines that are set aside be shown or kept."),
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key", metavar="FILE", help="The key of the store, where it is kept elsewhere."),
]
Level = Annotated[
    float, typer.Option("--level", metavar="RATE", help="The false discovery rate of the run.")
]
EngineName = Annotated[
    str,
    typer.Option(
        "--engine",
        metavar="ENGINE",
        help="What campaigns are found on: duckdb (in this process) or spark (the extra `spark`, "
        "and Java).",
    ),
]
SparkConf = Annotated[
    list[str] | None,
    typer.Option(
        "--spark-conf",
        metavar="KEY=VALUE",
        help="A setting of the Spark session, for example spark.driver.memory=8g. May be repeated.",
    ),
]


@app.callback()
def root() -> None:
    """Find campaigns of extraction in the traffic of a service."""


@app.command()
@handled
def inspect(
    logs: Logs,
    accounts: Accounts = None,
    maps: Maps = None,
    form: FormName = None,
    zone: Zone = "UTC",
    with_text: WithText = False,
    quiet: Quiet = False,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Say what a log is recognised as, what it lacks, and which signals that switches off."""
    from potstill.cli import watch_view
    from potstill.runs.watching import LogWanted, inspect_log

    wanted = LogWanted(
        tuple(logs), accounts, tuple(maps or ()), form, zone=zone, with_text=with_text
    )
    found = inspect_log(wanted, progress_for(quiet))
    if json:
        echo_json(found.record())
    else:
        watch_view.print_inspection(found)
    if all(one.problem is not None for one in found.files):
        raise typer.Exit(2)


@app.command()
@handled
def ingest(
    logs: Logs,
    into: Annotated[
        Path, typer.Option("--into", metavar="DIR", help="The store, new or begun before.")
    ],
    accounts: Accounts = None,
    privacy: Annotated[
        str | None,
        typer.Option(
            "--privacy",
            metavar="MODE",
            help="What is kept of texts: metadata (nothing), sketches (keyed MinHash; a new "
            "store's), full.",
        ),
    ] = None,
    maps: Maps = None,
    form: FormName = None,
    zone: Zone = "UTC",
    key: KeyFile = None,
    with_text: WithText = False,
    quiet: Quiet = False,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Take logs into a store, day by day; a file that it has already is passed over.

    Exit status 2 where a file could not be read: the others are in.
    """
    from potstill.cli import watch_view
    from potstill.runs.watching import LogWanted, ingest_log

    wanted = LogWanted(
        tuple(logs), accounts, tuple(maps or ()), form, zone=zone, with_text=with_text
    )
    found = ingest_log(wanted, into, privacy, key, progress_for(quiet))
    if json:
        echo_json(found.record())
    else:
        watch_view.print_ingest(found)
    if found.failed:
        raise typer.Exit(2)


@app.command()
@handled
def forget(
    into: Annotated[Path, typer.Argument(metavar="DIR", help="The store.")],
    days: Annotated[
        list[str] | None, typer.Option("--day", metavar="DATE", help="Take out a day's requests.")
    ] = None,
    accounts: Annotated[
        list[str] | None,
        typer.Option("--account", metavar="NAME", help="Take out all that is an account's."),
    ] = None,
    key: KeyFile = None,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Take days or accounts out of a store for good; what comes later of them is set aside."""
    from potstill.runs.watching import forget_of

    found = forget_of(into, tuple(days or ()), tuple(accounts or ()), key)
    if json:
        echo_json({"schema": "potstill/watch-forget/1", "requests": found})
        return
    for what, rows in found.items():
        typer.echo(f"{what}: {rows} requests taken out")


@app.command()
@handled
def find(
    into: Annotated[Path, typer.Argument(metavar="DIR", help="The store.")],
    level: Level = 0.05,
    engine: EngineName = "duckdb",
    spark_conf: SparkConf = None,
    key: KeyFile = None,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Find campaigns in a store, rank them, and say what each rests on.

    Exit status 0 where none was found, 3 where one was, 2 for an error.
    """
    from potstill.cli import watch_view
    from potstill.runs.watch_engines import EngineWanted
    from potstill.runs.watch_finding import find_in

    found = find_in(into, level, key, EngineWanted(engine, tuple(spark_conf or ())))
    if json:
        said = found.model_dump(mode="json")
        echo_json(
            {"schema": "potstill/watch-find/1", **said, "false_expected": found.false_expected}
        )
    else:
        watch_view.print_campaigns(found)
    if found.campaigns:
        raise typer.Exit(3)
