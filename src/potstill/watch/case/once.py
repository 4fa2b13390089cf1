"""What the printed queries of all cases read of a whole store, read once for all of them.

A printed query stands for itself: it reads the store. When a run's cases are written the same
figures come from tables that hold no more than the queries need, so that a store is read a few
times and not several times a case. Tests ask the printed queries, and get the printed figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from potstill.watch.case import sql
from potstill.watch.case.asking import Asker
from potstill.watch.case.figures import group_figures
from potstill.watch.case.members_sql import members

# Requests of every party that a case names or tested; others that used a case's templates.
_NAMED, _OTHERS, _COUNTED = "named_requests", "others_use", "all_requests"
_GROUPS, _KEYS = "all_groups", "all_keys"
_COLUMNS = (
    "source", "row", "account_id", "party", "micros", "day", "second", "status",
    "completion_tokens",
)  # fmt: skip
_SKETCHED = (
    "prompt_hash", "prompt_head", "prompt_tail", "prompt_words", "prompt_sketch", "system_hash",
    f"{sql.SETTINGS} AS settings",
)  # fmt: skip
_TOP = (
    "SELECT template FROM marked JOIN mine USING (source, row) GROUP BY template ORDER BY "
)  # fmt: skip


@dataclass(frozen=True)
class ReadOnce:
    """Asks what is printed of tables that were made before; `tables` are those of each case."""

    asker: Asker
    tables: tuple[str, ...]

    def prepare(self, case_id: str) -> None:
        """Make the tables of a case those that are asked."""
        self.asker.prepare(_views(case_id, self.tables))


def read_once(
    asker: Asker, case_ids: Sequence[str], files: sql.StoreFiles, *, with_text: bool = False
) -> ReadOnce:
    """Return what takes the figures of some cases from tables, which are made here.

    The cases' own files have to be there. Prompts are kept only `with_text`.
    """
    asker.prepare(_of_store(case_ids, files, with_text=with_text))
    tables = ("members", "mine", *(("marked",) if files.sketches else ()))
    top: set[str] = set()
    for case_id in case_ids:
        asker.prepare(_of_case(case_id, files))
        asker.prepare(_views(case_id, tables))
        for first in ("count(*)", "count(DISTINCT party)") if files.sketches else ():
            most = f"{_TOP}{first} DESC, template LIMIT {sql.MOST_TEMPLATES}"
            top.update(asker.texts(most))
    if files.sketches:
        asker.prepare([_others(sorted(top))])
    keys = _KEYS if files.sketches else None
    known = group_figures(asker.connection, _GROUPS, _NAMED, keys, text=files.text)
    return ReadOnce(replace(asker, instead=_instead(files), known=known), tables)


def _of_store(case_ids: Sequence[str], files: sql.StoreFiles, *, with_text: bool) -> Iterator[str]:
    places = [f"getvariable('cases') || {sql.quoted(f'/{case_id}/')}" for case_id in case_ids]
    groups, named, keys = (
        "read_parquet([" + ", ".join(f"{one} || '{name}'" for one in places) + "])"
        for name in (sql.GROUPS_FILE, sql.MEMBERS_FILE, sql.KEYS_FILE)
    )
    columns = [*_COLUMNS, *(_SKETCHED if files.sketches else ())]
    if files.text:
        columns += [f"{sql.matches(one)} AS {name}" for name, one in sql.PATTERNS.items()]
    if files.text and with_text:
        columns.append("prompt")
    yield "CREATE OR REPLACE TEMP TABLE known_accounts AS FROM accounts"
    yield "CREATE OR REPLACE TEMP VIEW accounts AS FROM known_accounts"
    yield f"CREATE OR REPLACE TEMP TABLE {_GROUPS} AS FROM {groups}"
    yield (
        f"CREATE OR REPLACE TEMP TABLE {_KEYS} AS\n"
        f"SELECT DISTINCT candidate_id, split_part(key[3:], chr(10), 1) AS settings FROM {keys}"
    )
    yield (
        f"CREATE OR REPLACE TEMP TABLE {_NAMED} AS\nSELECT {', '.join(columns)} FROM requests\n"
        f"WHERE party IN (SELECT party FROM {_GROUPS})\n"
        f"OR account_id IN (SELECT account_id FROM {named})"
    )
    yield f"CREATE OR REPLACE TEMP TABLE {_COUNTED} AS SELECT count(*) AS n FROM requests"


def _of_case(case_id: str, files: sql.StoreFiles) -> Iterator[str]:
    """Yield the statements that make the tables of a case under names of their own."""
    named, groups, mine, tested, *of_sketches = sql.prepare_case(case_id, sketches=files.sketches)
    yield groups
    for statement in (named, mine, *of_sketches[1:]):
        own = statement.replace("FROM requests", f"FROM {_NAMED}")
        for name in ("members", "mine", "marked"):
            own = own.replace(f"TEMP TABLE {name} AS", f"TEMP TABLE {_own(name, case_id)} AS")
            own = own.replace(f"FROM {name})", f"FROM {_own(name, case_id)})")
        yield own
    # Few queries read it, and not of every case.
    yield tested.replace("TEMP TABLE", "TEMP VIEW").replace("FROM requests", f"FROM {_NAMED}")


def _views(case_id: str, tables: Sequence[str]) -> list[str]:
    """Return what makes a case's tables those that are asked; some are small, and read again."""
    _, groups, _, _, *of_sketches = sql.prepare_case(case_id, sketches="marked" in tables)
    return [
        groups,
        *of_sketches[:1],
        *(f"CREATE OR REPLACE TEMP VIEW {one} AS FROM {_own(one, case_id)}" for one in tables),
    ]


def _own(table: str, case_id: str) -> str:
    return f"{table}_{case_id}"


def _others(templates: Sequence[str]) -> str:
    """Return what makes the table of the parties that used a case's templates twice or more."""
    which = ", ".join(templates) or "NULL"
    return (
        f"CREATE OR REPLACE TEMP TABLE {_OTHERS} AS SELECT template, party FROM (\n"
        "  SELECT party, unnest(prompt_sketch) AS template FROM requests)\n"
        f"WHERE template IN ({which}) GROUP BY ALL HAVING count(*) >= 2"
    )


def _instead(files: sql.StoreFiles) -> dict[str, str]:
    """Return what is asked of the tables in place of queries that read the store."""
    share = sql.TOTALS["share of all requests"]
    found = {share: share.replace("count(*) FROM requests", f"n FROM {_COUNTED}")}
    printed = lighter = members(sketches=files.sketches, text=files.text)
    if files.text:
        either = sql.matches("|".join(sql.PATTERNS.values()))
        lighter = lighter.replace(either, " OR ".join(sql.PATTERNS))
    if files.sketches:
        lighter = lighter.replace(f"SELECT *, {sql.SETTINGS} AS settings FROM mine", "FROM mine")
        outside = f"  SELECT party FROM {_OTHERS} JOIN top USING (template)\n  WHERE {sql.OTHERS})"
        found[sql.OUTSIDE] = sql.OUTSIDE.replace(sql.OUTSIDE_USE, outside)
        beside = (
            f"  SELECT template, count(*) AS outside FROM {_OTHERS}\n"
            f"  WHERE {sql.OTHERS} AND template IN (SELECT template FROM top) GROUP BY ALL)\n"
        )
        found[sql.templates()] = sql.templates().replace(sql.TEMPLATES_USE, beside)
    return found | {printed: lighter}
