"""What the printed queries of all cases read of a whole store, read once for all of them.

A printed query stands for itself: it reads the store. When a run's cases are written the same
figures come from tables that hold no more than the queries need, so that a store is read three
times and not several times a case. Tests ask the printed queries, and get the printed figures.
"""

from __future__ import annotations

from collections.abc import Sequence

from potstill.watch.case import sql
from potstill.watch.case.asking import Asker

# Requests of every party that a case names or tested, and those of others with a case's templates.
_NAMED, _OTHERS, _COUNTED = "named_requests", "others_requests", "all_requests"
_TOP = (
    "SELECT template FROM marked JOIN mine USING (source, row) GROUP BY template ORDER BY "
)  # fmt: skip


def read_once(asker: Asker, case_ids: Sequence[str], *, sketches: bool) -> Asker:
    """Return an asker that takes the figures of some cases from tables, which are made here.

    The cases' own files have to be there.
    """
    files = [f"getvariable('cases') || {sql.quoted(f'/{case_id}/')}" for case_id in case_ids]
    parties, accounts = (
        "read_parquet([" + ", ".join(f"{one} || '{name}'" for one in files) + "])"
        for name in (sql.GROUPS_FILE, sql.MEMBERS_FILE)
    )
    asker.prepare(
        [
            f"CREATE OR REPLACE TEMP TABLE {_NAMED} AS\nFROM requests "
            f"WHERE party IN (SELECT party FROM {parties})\n"
            f"OR account_id IN (SELECT account_id FROM {accounts})",
            f"CREATE OR REPLACE TEMP TABLE {_COUNTED} AS SELECT count(*) AS n FROM requests",
        ]
    )
    instead = {
        statement: statement.replace("FROM requests WHERE", f"FROM {_NAMED} WHERE")
        for case_id in case_ids
        for statement in sql.prepare_case(case_id, sketches=sketches)
    }
    share = sql.TOTALS["share of all requests"]
    instead[share] = share.replace("count(*) FROM requests", f"n FROM {_COUNTED}")
    faster = Asker(asker.connection, instead)
    if sketches:
        _others(faster, case_ids)
        instead[sql.OUTSIDE] = sql.OUTSIDE.replace("FROM requests", f"FROM {_OTHERS}")
        instead[sql.templates()] = sql.templates().replace("FROM requests", f"FROM {_OTHERS}")
    return Asker(asker.connection, instead)


def _others(asker: Asker, case_ids: Sequence[str]) -> None:
    """Make the table of requests that have one of the cases' commonest templates."""
    templates: set[str] = set()
    for case_id in case_ids:
        asker.prepare(sql.prepare_case(case_id, sketches=True))
        for first in ("count(*)", "count(DISTINCT party)"):
            top = f"{_TOP}{first} DESC, template LIMIT {sql.MOST_TEMPLATES}"
            templates.update(asker.texts(top))
    which = ", ".join(sorted(templates))
    asker.prepare(
        [
            f"CREATE OR REPLACE TEMP TABLE {_OTHERS} AS SELECT party, prompt_sketch FROM requests\n"
            f"WHERE list_has_any(prompt_sketch, [{which}]::BIGINT[])"
        ]
    )
