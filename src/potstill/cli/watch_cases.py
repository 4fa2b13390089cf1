"""`potstill watch cases` and what is decided about them: close, reopen, allow, appeal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from potstill.cli.common import AsJson, Debug, echo_json, handled
from potstill.cli.watch import EngineName, KeyFile, Level, SparkConf

Store = Annotated[Path, typer.Argument(metavar="DIR", help="The store.")]
Because = Annotated[
    str, typer.Option("--because", metavar="TEXT", help="Why, for those who come later.")
]
CaseIds = Annotated[list[str], typer.Argument(metavar="CASE...", help="Ids of cases.")]


def add_to(app: typer.Typer) -> None:
    """Add the verbs about cases to those of the watch."""
    for verb in (cases, close, reopen, allow, appeal):
        app.command()(handled(verb))


def cases(
    store: Store,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to; else `cases` in the store."),
    ] = None,
    level: Level = 0.05,
    with_text: Annotated[
        bool,
        typer.Option("--with-text", help="Show a prompt of each of a case's commonest templates."),
    ] = False,
    stix: Annotated[
        bool,
        typer.Option("--stix", help="Write each case as a bundle of STIX 2.1, too."),
    ] = False,
    engine: EngineName = "duckdb",
    spark_conf: SparkConf = None,
    key: KeyFile = None,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Find campaigns and write each as a case: a page, JSON, queries, notices to its accounts.

    Exit status 0 where no case is open, 3 where one is, 2 for an error.
    """
    from potstill.cli import watch_view
    from potstill.runs.watch_cases import CasesWanted, write_cases
    from potstill.runs.watch_engines import EngineWanted

    wanted = CasesWanted(
        store, out, level, key, with_text,
        engine=EngineWanted(engine, tuple(spark_conf or ())), stix=stix,
    )  # fmt: skip
    found = write_cases(wanted)
    if json:
        echo_json(found.model_dump(mode="json", by_alias=True))
    else:
        watch_view.print_cases(found, wanted.place)
    if found.open:
        raise typer.Exit(3)


def close(
    store: Store,
    case_ids: CaseIds,
    because: Because,
    key: KeyFile = None,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Close cases: later runs list them as closed, and do not count them as open."""
    from potstill.runs.watch_deciding import close_cases

    close_cases(store, case_ids, because, key)
    _decided(case_ids, "closed", json=json)


def reopen(
    store: Store,
    case_ids: CaseIds,
    key: KeyFile = None,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Open closed cases again."""
    from potstill.runs.watch_deciding import reopen_cases

    reopen_cases(store, case_ids, key)
    _decided(case_ids, "open", json=json)


def allow(
    store: Store,
    accounts: Annotated[
        list[str] | None,
        typer.Option("--account", metavar="NAME", help="An account to let be. May be repeated."),
    ] = None,
    tenants: Annotated[
        list[str] | None,
        typer.Option("--tenant", metavar="NAME", help="A tenant to let be. May be repeated."),
    ] = None,
    because: Because = "",
    remove: Annotated[
        bool, typer.Option("--remove", help="Take them off the allow-list instead.")
    ] = False,
    key: KeyFile = None,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Leave accounts or tenants out of every search; without either, list who is left out."""
    from potstill.runs.watch_deciding import allow as allowing

    found = allowing(
        store, tuple(accounts or ()), tuple(tenants or ()), because, remove=remove, key=key
    )
    if json:
        lists = {"accounts": found.accounts, "tenants": found.tenants, "unseen": found.unseen}
        echo_json({"schema": "potstill/watch-allow/1", **lists})
        return
    for kind, names in (("account", found.accounts), ("tenant", found.tenants)):
        for name, why in sorted(names.items()):
            typer.echo(f"{kind} {_in_a_line(name)}: {_in_a_line(why)}")
    if not found.accounts and not found.tenants:
        typer.echo("nobody is on the allow-list")
    for kind, unseen in found.unseen.items():
        for name in unseen:
            typer.echo(f"no such {kind} in the store yet: {_in_a_line(name)}; check the name")


def _in_a_line(text: str) -> str:
    """Return what somebody wrote so that it cannot look like a line of the program's."""
    return text if text.isprintable() else repr(text)


def appeal(
    cases_dir: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of the cases, or their store.")
    ],
    case_id: Annotated[str, typer.Argument(metavar="CASE", help="Id of the case.")],
    account: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Where to; else appeal-CASE.html."),
    ] = None,
    json: AsJson = False,
    debug: Debug = False,
) -> None:
    """Write what one account of a case may be told: nothing of other customers is in it."""
    from potstill.runs.watch_cases import write_appeal

    place, found = write_appeal(cases_dir, case_id, account, out)
    if json:
        echo_json(found.model_dump(mode="json", by_alias=True))
    else:
        typer.echo(f"{place} holds what this account may be told")


def _decided(case_ids: list[str], status: str, *, json: bool) -> None:
    if json:
        echo_json({"schema": "potstill/watch-close/1", "cases": dict.fromkeys(case_ids, status)})
        return
    for case_id in case_ids:
        typer.echo(f"{case_id}: {status}")
