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
        searched.store, searched.folder,
        accounts=True, sketches=True, text=True, allowed=False, templates=True,
    )  # fmt: skip
    asker = Asker(duckdb.connect())
    asker.prepare(sql.prepare_store(files))
    names = [case.case_id for case in searched.cases]
    once = read_once(asker, names, files)
    assert len(once.asker.instead) == 4
    for printed, asked in once.asker.instead.items():
        assert "FROM requests" not in asked and "prompt," not in asked and asked != printed
    # From here on nothing is left of the store, and of requests no more than is asked for.
    asker.connection.execute("DROP VIEW requests")
    for case in searched.cases:
        once.prepare(case.case_id)
        assert once.asker.value(sql.TOTALS["requests"]) == case.facts.totals[2].value
        for fact in case.facts.signals:
            if fact.observed is not None:
                assert once.asker.value(fact.observed.query) == fact.observed.value
    held = asker.connection.execute("FROM named_requests LIMIT 0").description or ()
    assert not {"prompt", "model", "user_agent"} & {column[0] for column in held}
