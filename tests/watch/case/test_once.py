"""What is asked in place of printed queries reads no store, and gives what the whole store gives.

What pages print of the tables that are made once test_sql asks of the whole store; here are the
figures and queries themselves, and groups whose keys are those of some requests of a party alone.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from case_worlds import POOL, SEED, campaign_of, cases_by_hand, store_of, wide_world

from potstill.runs.watch_finding import find_in
from potstill.watch.case import sql
from potstill.watch.case.asking import Asker
from potstill.watch.case.members_sql import members
from potstill.watch.case.models import Case, FactTable, Statement
from potstill.watch.case.once import ReadOnce, put, read_once
from potstill.watch.case.replay import queries_of
from potstill.watch.evidence import Candidate

BROKEN = "big\nand new"


def files_of(store: Path, cases: Path, *, text: bool = True) -> sql.StoreFiles:
    return sql.StoreFiles(
        store, cases, accounts=True, sketches=True, text=text, allowed=False, templates=True
    )


def names_in(folder: Path) -> list[str]:
    return sorted(one.parent.name for one in folder.glob("*/groups.parquet"))


def asked_once(files: sql.StoreFiles, names: list[str]) -> ReadOnce:
    asker = Asker(duckdb.connect())
    asker.prepare(sql.prepare_store(files))
    return read_once(asker, names, files)


def printed_of(case: Case) -> Iterator[Statement | FactTable | tuple[str, float]]:
    yield from queries_of(case)
    for group in case.inference.groups:
        for one in group.signals:
            if one.expected_query is not None:
                yield one.expected_query, one.expected


def test_what_is_asked_instead_reads_no_store(searched: Any) -> None:
    names = [case.case_id for case in searched.cases]
    once = asked_once(files_of(searched.store, searched.folder), names)
    assert len(once.asker.instead) == 4
    for printed, asked in once.asker.instead.items():
        assert "FROM requests" not in asked and "prompt," not in asked and asked != printed
        assert "(prompt)" not in asked and "model" not in asked
    # From here on nothing is left of the store, and of requests no more than is asked for.
    once.asker.connection.execute("DROP VIEW requests")
    for case in searched.cases:
        once.prepare(case.case_id)
        for one in printed_of(case):
            if isinstance(one, Statement):
                assert once.asker.value(one.query) == one.value
            elif isinstance(one, FactTable):
                assert once.asker.table(one.name, one.query).rows == one.rows
            else:
                assert once.asker.number(one[0]) == pytest.approx(one[1], abs=6e-4)
    held = once.asker.connection.execute("FROM named_requests LIMIT 0").description or ()
    assert not {"prompt", "model", "user_agent"} & {column[0] for column in held}


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, tuple[Candidate, ...]]:
    """A store whose pool has two clients, one of a model of two lines, and asks beside them.

    Returned are it, the folder of cases, and their groups: one of each kind, those of keys all.
    """
    folder = tmp_path_factory.mktemp("mixed")
    requests, accounts = wide_world(random.Random(SEED))
    for row in requests:
        who = int(row["account_id"].removeprefix("acct"))
        if who in POOL and who % 2:
            row["model"] = BROKEN
    beside = [
        row
        | {"request_id": f"b{n}", "model": "small"}
        | {"prompt": " ".join(f"other{n}and{word}" for word in range(12))}
        for n, row in enumerate(requests[::3])
    ]
    store = store_of(folder, ([*requests, *beside], accounts))
    found = find_in(store, 0.05, whole=True)
    of_kind = {(one.chosen_by, one.keys): one for one in found.candidates}
    campaigns = tuple(
        campaign_of(
            [party.removeprefix("a:") for party in group.parties if party.startswith("a:")],
            campaign_id=f"c{number}",
            candidates=(group,),
        )
        for number, group in enumerate(of_kind.values())
    )
    cases_by_hand(store, found.model_copy(update={"campaigns": campaigns}), folder / "cases")
    return store, folder / "cases", tuple(of_kind.values())


def test_figures_are_those_of_the_whole_store(mixed: Any) -> None:
    store, folder, candidates = mixed
    files = files_of(store, folder)
    names = names_in(folder)
    once = asked_once(files, names)
    whole = Asker(duckdb.connect())
    whole.prepare(sql.prepare_store(files))
    seen, alike = set(), 0
    for name in names:
        once.prepare(name)
        whole.prepare(sql.prepare_case(name, sketches=True))
        ids = whole.texts("SELECT DISTINCT candidate_id FROM groups")
        for query, value in once.asker.known.items():
            if any(sql.quoted(one) in query for one in ids):
                assert whole.number(query) == pytest.approx(value, rel=1e-9, abs=1e-9), query
                seen.add(query)
        for one in candidates:
            if one.keys and one.candidate_id in ids:
                # Its clock is of a part of its parties' requests.
                some = once.asker.known[sql.together(one.candidate_id, 1, keyed=True)]
                assert isinstance(some, float)
                assert some < whole.number(sql.together(one.candidate_id, 1))
        for query in once.asker.instead:
            assert once.asker.table("", query).rows == whole.table("", query).rows, query
        rows = once.asker.table("", members(sketches=True, text=True))
        alike += sum(int(row[rows.columns.index("alike")] or 0) for row in rows.rows)
    assert seen == set(once.asker.known) and len(seen) > 15 * len(candidates) and alike > 0
    keyed = [one for one in candidates if one.keys]
    assert {any(BROKEN in key for key in one.keys) for one in keyed} == {True, False}
    for one in candidates:
        for minutes in (1, 30):
            assert sql.together(one.candidate_id, minutes, keyed=bool(one.keys)) in seen
            assert sql.together(one.candidate_id, minutes, keyed=not one.keys) not in seen


def test_members_are_those_of_the_whole_store_without_text(mixed: Any) -> None:
    store, folder, _ = mixed
    files, name = files_of(store, folder, text=False), names_in(folder)[0]
    once = asked_once(files, [name])
    query = members(sketches=True, text=False)
    assert once.asker.instead[query] != query
    once.prepare(name)
    whole = Asker(duckdb.connect())
    whole.prepare([*sql.prepare_store(files), *sql.prepare_case(name, sketches=True)])
    assert once.asker.table("", query).rows == whole.table("", query).rows != ()


def test_a_query_that_would_be_asked_as_it_is_printed_is_refused() -> None:
    assert put("FROM a, a", "a", "b") == "FROM b, b"
    with pytest.raises(ValueError, match="no query"):
        put("FROM a", "c", "b")
