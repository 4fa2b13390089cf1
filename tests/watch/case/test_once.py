"""What is asked in place of printed queries reads no store (the figures: test_sql)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb

from potstill.watch.case import sql
from potstill.watch.case.asking import Asker
from potstill.watch.case.once import read_once


def test_what_is_asked_instead_reads_no_store(searched: Any, tmp_path: Path) -> None:
    files = sql.StoreFiles(
        searched.store, searched.folder, accounts=True, sketches=True, text=True, allowed=False
    )
    asker = Asker(duckdb.connect())
    asker.prepare(sql.prepare_store(files))
    names = [case.case_id for case in searched.cases]
    once = read_once(asker, names, sketches=True)
    # Three statements of each case are its own, six are the same for all.
    assert len(once.instead) == 3 * len(names) + 6
    for printed, asked in once.instead.items():
        assert "FROM requests" not in asked
        assert (asked != printed) == ("FROM requests" in printed)
    # The parties that a case names are read whole.
    asker.connection.execute("DROP VIEW requests")
    once.prepare(sql.prepare_case(names[0], sketches=True))
    assert once.value(sql.TOTALS["requests"]) == searched.cases[0].facts.totals[2].value
