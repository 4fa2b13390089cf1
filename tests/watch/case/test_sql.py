"""Every printed query gives the printed figure in plain DuckDB, and what `watch find` found."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from case_worlds import POOL, campaign_of, cases_by_hand, found_of, group_of

from potstill.watch.case.models import Case, FactTable, Statement
from potstill.watch.case.replay import queries_of, queries_text
from potstill.watch.case.sql import quoted


def plain(case: Case) -> duckdb.DuckDBPyConnection:
    """Return a fresh connection in which a case's tables are made by what is printed."""
    connection = duckdb.connect()
    connection.execute(case.prepare)
    return connection


def same(value: Any, printed: Any) -> bool:
    if isinstance(value, float) and math.isnan(value):
        return printed is None
    if isinstance(printed, float):
        return value is not None and math.isclose(float(value), printed, rel_tol=1e-12)
    return bool(value == printed)


def test_every_printed_query_gives_the_printed_figure(searched: Any) -> None:
    asked = 0
    for case in searched.cases:
        connection = plain(case)
        for one in queries_of(case):
            rows = connection.execute(one.query).fetchall()
            if isinstance(one, Statement):
                assert len(rows) == 1 and len(rows[0]) == 1
                assert same(rows[0][0], one.value), one.name
            else:
                assert len(rows) == len(one.rows), one.name
                for row, printed in zip(rows, one.rows, strict=True):
                    assert all(map(same, row, printed)), one.name
            asked += 1
        connection.close()
    assert asked > 20 * len(searched.cases) > 0


def test_queries_count_what_find_counts(searched: Any) -> None:
    seen = set()
    for case in searched.cases:
        connection = plain(case)
        (group,) = case.inference.groups
        for fact, signal in zip(case.facts.signals, group.signals, strict=True):
            seen.add((signal.signal, signal.part, fact.observed is not None))
            if fact.observed is not None:
                assert fact.observed.value == pytest.approx(signal.observed, abs=6e-4), signal
            linked = signal.signal.startswith(("shared", "accounts opened"))
            asked = linked or signal.signal == "hand-off"
            assert (signal.expected_query is not None) == asked, signal
            if signal.expected_query is not None:
                (value,) = connection.execute(signal.expected_query).fetchone() or (None,)
                assert value == pytest.approx(signal.expected, abs=6e-4), signal
        connection.close()
    assert {(name, part) for name, part, known in seen if known} >= {
        ("shared payment", "means"),
        ("shared device", "means"),
        ("shared client address", "means"),
        ("shared client address", "places"),
        ("shared e-mail domain", "places"),
        ("shared network of accounts", "places"),
        ("hand-off", "hand-off"),
        ("synchrony", "clock"),
        ("complementary load", "clock"),
        ("reasoning elicitation", "intent"),
        ("rubric and reward prompts", "intent"),
    }
    # Of groups that keys chose some requests are tested, which no table of a case names.
    assert {name for name, _, known in seen if not known} <= {
        "slot coverage",
        "template spread",
        "synchrony",
        "complementary load",
        "common rounds",
        "large relay",
    }


def test_the_whole_script_runs_where_nothing_of_potstill_is(searched: Any) -> None:
    text = queries_text(searched.cases[0])
    code = "import sys, duckdb\nduckdb.connect().execute(sys.stdin.read())\nprint('ran')"
    ran = subprocess.run(
        [sys.executable, "-I", "-c", code], input=text, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "ran\n"
    assert text.count(";\n") > 25 and "potstill" not in text.split("\n", 3)[3]


def test_figures_are_of_the_case_s_accounts_alone(searched: Any, tmp_path: Path) -> None:
    names = [f"acct{who}" for who in POOL]
    parties = ("t:one", *(f"a:{name}" for name in names[2:]))
    campaign = campaign_of(names, candidates=(group_of(names, parties=parties),))
    (case,) = cases_by_hand(searched.store, found_of([campaign]), tmp_path / "cases")
    totals = {one.name: one.value for one in case.facts.totals}
    assert totals["accounts"] == len(case.facts.members.rows) == 16
    assert totals["parties"] == 15  # one tenant has two of them
    assert sum(int(row[1]) for row in case.facts.timeline.rows) == totals["requests"]
    assert isinstance(case.facts.templates, FactTable) and case.facts.templates.rows
    assert {row[0] for row in case.facts.members.rows} == set(names)
    # Twelve of the pool have cards of four, and the tenant's two are one party.
    payments = [row for row in case.facts.shared.rows if row[0] == "payment"]
    assert [row[2] for row in payments] == [4, 4, 4, 3]


def test_a_quote_in_a_path_ends_no_literal() -> None:
    assert quoted("it's") == "'it''s'"
    (found,) = duckdb.connect().execute(f"SELECT {quoted(chr(39) + '; SELECT 2 --')}").fetchone()
    assert found == "'; SELECT 2 --"
