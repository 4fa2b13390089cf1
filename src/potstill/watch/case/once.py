"""What the printed queries of all cases read of a whole store, read once for all of them.

A printed query stands for itself: it reads the store. When a run's cases are written the same
figures come from tables that hold no more than the queries need, so that a store is read a few
times and not several times a case. Tests ask the printed queries, and get the printed figures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from potstill.watch.case import sql
from potstill.watch.case.asking import Asker
from potstill.watch.case.figures import Tables, group_figures
from potstill.watch.case.members_sql import ASKING, members

# Requests of every party that a case names or tested; others that used a case's templates.
_NAMED, _OTHERS, _COUNTED = "named_requests", "others_use", "all_requests"
_GROUPS, _KEYS = "all_groups", "all_keys"
# Settings that keys of a group have, as a type that holds each once; a request's own, if it is one.
_OF_KEYS, _HAS = "settings_of_keys", "has_settings"
_COLUMNS = (
    "source", "row", "account_id", "party", "micros", "day", "second", "status",
    "completion_tokens",
)  # fmt: skip
_SKETCHED = (
    "prompt_hash", "prompt_head", "prompt_tail", "prompt_words", "prompt_sketch", "system_hash",
    f"TRY_CAST({sql.SETTINGS} AS {_OF_KEYS}) AS {_HAS}",
)  # fmt: skip
# What tables of a case read, where they have names of their own.
_READS: Mapping[str, tuple[str, ...]] = {
    "members": (), "mine": ("requests", "members"), "marked": ("mine",)
}  # fmt: skip
_TOP = (
    "SELECT template FROM marked JOIN mine USING (source, row) GROUP BY template ORDER BY "
)  # fmt: skip


@dataclass(frozen=True)
class ReadOnce:
    """Asks what is printed of tables that were made before."""

    asker: Asker
    sketches: bool

    def prepare(self, case_id: str) -> None:
        """Make the tables of a case those that are asked."""
        self.asker.prepare(_views(case_id, sketches=self.sketches))


def read_once(
    asker: Asker, case_ids: Sequence[str], files: sql.StoreFiles, *, with_text: bool = False
) -> ReadOnce:
    """Return what takes the figures of some cases from tables, which are made here.

    The cases' own files have to be there. Prompts are kept only `with_text`.
    """
    asker.prepare(_of_store(case_ids, files, with_text=with_text))
    top: set[str] = set()
    for case_id in case_ids:
        asker.prepare(_of_case(case_id, files))
        asker.prepare(_views(case_id, sketches=files.sketches))
        for first in ("count(*)", "count(DISTINCT party)") if files.sketches else ():
            most = f"{_TOP}{first} DESC, template LIMIT {sql.MOST_TEMPLATES}"
            top.update(asker.texts(most))
    if files.sketches:
        asker.prepare([_others(sorted(top))])
    made = Tables(_GROUPS, _NAMED, _KEYS if files.sketches else None, text=files.text)
    known = group_figures(asker.connection, made)
    return ReadOnce(replace(asker, instead=_instead(files), known=known), files.sketches)


def _of_store(case_ids: Sequence[str], files: sql.StoreFiles, *, with_text: bool) -> Iterator[str]:
    places = [f"getvariable('cases') || {sql.quoted(f'/{case_id}/')}" for case_id in case_ids]
    groups, accounts, keys = (
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
    if files.sketches:
        # Where a name in settings breaks a line, a key has more of them than its first.
        yield (
            f"CREATE OR REPLACE TYPE {_OF_KEYS} AS ENUM (\n"
            f"SELECT {sql.KEY_SETTINGS} FROM {keys} UNION\n"
            f"SELECT CASE WHEN key[1] = 's' THEN key[3:]\n"
            f"  ELSE regexp_replace(key[3:], '\\n[^\\n]*$', '') END FROM {keys})"
        )
        yield (
            f"CREATE OR REPLACE TEMP TABLE {_KEYS} AS\n"
            f"SELECT DISTINCT candidate_id, {sql.KEY_SETTINGS}::{_OF_KEYS} AS {_HAS} FROM {keys}"
        )
    yield (
        f"CREATE OR REPLACE TEMP TABLE {_NAMED} AS\nSELECT {', '.join(columns)} FROM requests\n"
        f"WHERE party IN (SELECT party FROM {_GROUPS})\n"
        f"OR account_id IN (SELECT account_id FROM {accounts})"
    )
    yield f"CREATE OR REPLACE TEMP TABLE {_COUNTED} AS SELECT count(*) AS n FROM requests"


def _of_case(case_id: str, files: sql.StoreFiles) -> Iterator[str]:
    """Yield the statements that make the tables of a case under names of their own."""
    made = sql.case_tables(case_id, sketches=files.sketches)
    for name, reads in _READS.items():
        if name in made:
            own = put(made[name], f"TABLE {name} AS", f"TABLE {_own(name, case_id)} AS")
            for read in reads:
                table = _NAMED if read == "requests" else _own(read, case_id)
                own = put(own, f"FROM {read}", f"FROM {table}")
            yield own


def _views(case_id: str, *, sketches: bool) -> Iterator[str]:
    made = sql.case_tables(case_id, sketches=sketches)
    yield from (made[one] for one in ("groups", "client_keys") if one in made)
    # Few queries read it, and not of every case.
    tested = put(made["tested"], "TEMP TABLE", "TEMP VIEW")
    yield put(tested, "FROM requests", f"FROM {_NAMED}")
    for one in _READS:
        if one in made:
            yield f"CREATE OR REPLACE TEMP VIEW {one} AS FROM {_own(one, case_id)}"


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
    found = {share: put(share, "count(*) FROM requests", f"n FROM {_COUNTED}")}
    printed = asked = members(sketches=files.sketches, text=files.text)
    if files.text:
        asked = put(asked, ASKING, " OR ".join(sql.PATTERNS))
    if files.sketches:
        asked = put(asked, sql.SETTINGS, _HAS)
        outside = f"  SELECT party FROM {_OTHERS} JOIN top USING (template)\n  WHERE {sql.OTHERS})"
        found[sql.OUTSIDE] = put(sql.OUTSIDE, sql.OUTSIDE_USE, outside)
        beside = (
            f"  SELECT template, count(*) AS outside FROM {_OTHERS}\n"
            f"  WHERE {sql.OTHERS} AND template IN (SELECT template FROM top) GROUP BY ALL)\n"
        )
        found[sql.templates()] = put(sql.templates(), sql.TEMPLATES_USE, beside)
    return found | {printed: asked}


def put(query: str, printed: str, instead: str) -> str:
    """Return a query with a part of it put otherwise.

    ValueError: it has no such part, and would be asked as it is printed.
    """
    if printed not in query:
        raise ValueError(f"no query that is asked otherwise has {printed!r}")
    return query.replace(printed, instead)
