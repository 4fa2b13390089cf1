"""scores.parquet holds every score of a run, of groups that were not found too."""

from __future__ import annotations

from typing import Any

import duckdb
from case_worlds import campaign_of, found_of, group_of

from potstill.watch.case.scores import SCORES_FILE, scores_table


def test_each_signal_of_each_group_is_a_row(searched: Any) -> None:
    rows = duckdb.sql(f"FROM read_parquet('{searched.folder / SCORES_FILE}')").fetchall()
    names = duckdb.sql(f"FROM read_parquet('{searched.folder / SCORES_FILE}')").columns
    found = {(row[names.index("candidate_id")], row[names.index("signal")]) for row in rows}
    for group in searched.found.candidates:
        for one in group.signals:
            assert (group.candidate_id, one.signal) in found
    assert len(rows) == sum(max(1, len(one.signals)) for one in searched.found.candidates)


def test_a_group_that_was_not_found_belongs_to_no_case() -> None:
    found_one = campaign_of(["a", "b"])
    other = group_of(["c", "d"], candidate_id="other", found=False, signals=())
    found = found_of([found_one], candidates=(*found_one.candidates, other))
    rows = scores_table(found, {"c0": "the case"}).to_pylist()
    assert {row["candidate_id"]: row["case_id"] for row in rows} == {
        "g-c0": "the case",
        "other": None,
    }
    (last,) = [row for row in rows if row["candidate_id"] == "other"]
    assert last["signal"] is None and last["log10_e_without_time"] == -3.0
