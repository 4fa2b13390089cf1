"""Logs as they come: schemas that differ, clocks that are wrong, columns that lack, rows twice."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from traffic_logs import NOW, Ingest, held, request, write_lines
from typer.testing import CliRunner

from potstill.cli.app import app
from potstill.runs.watching import LogWanted, inspect_log
from potstill.watch.ingest.rows import store_schema
from potstill.watch.ingest.store import TrafficStore

ROWS = [request(n) for n in range(60)]


def write_typed(path: Path, rows: list[dict[str, Any]], **types: pa.DataType) -> None:
    """Write rows as Parquet, some columns in types of their own."""
    table = pa.Table.from_pylist(rows)
    for name, kind in types.items():
        place = table.column_names.index(name)
        table = table.set_column(place, name, pc_cast(table[name], kind))
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def pc_cast(values: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if pa.types.is_timestamp(kind):
        moments = [datetime.fromisoformat(one.as_py()) for one in values]
        return pa.chunked_array([pa.array(moments, pa.timestamp("us", tz="UTC")).cast(kind)])
    return values.cast(kind)


def without(rows: list[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    return [{name: row[name] for name in row if name not in names} for row in rows]


def test_files_of_a_folder_may_have_other_columns_types_and_orders(
    ingest: Ingest, tmp_path: Path
) -> None:
    folder = tmp_path / "logs"
    write_typed(folder / "0.parquet", ROWS[:10])
    write_typed(
        folder / "1.parquet",
        ROWS[10:18],
        time=pa.timestamp("ns", tz="Asia/Tokyo"),
        status=pa.string(),
        prompt_tokens=pa.float64(),
        latency_s=pa.float32(),
        model=pa.dictionary(pa.int8(), pa.string()),
        prompt=pa.large_string(),
        stream=pa.string(),
    )
    write_typed(folder / "1a.parquet", ROWS[18:20], time=pa.timestamp("ns"))
    write_typed(folder / "2.parquet", without(ROWS[20:30], "user_agent", "temperature", "stream"))
    write_lines(folder / "3.jsonl", *({k: row[k] for k in reversed(row)} for row in ROWS[30:40]))
    # Types and columns that change in the middle of a file.
    write_lines(
        folder / "4.jsonl",
        *ROWS[40:45],
        *({**row, "status": "200", "max_tokens": 64.0, "new": {"a": 1}} for row in ROWS[45:50]),
    )
    write_lines(folder / "5.jsonl", *({**row, "status": [200]} for row in ROWS[50:60]))
    report = ingest(folder)
    assert not report.failed and sum(one.tally["kept"] for one in report.files) == 60
    found = held(tmp_path / "store")
    assert {row["request_id"] for row in found} == {row["request_id"] for row in ROWS}
    by_id = {row["request_id"]: row for row in found}
    for row in ROWS[:50]:
        stored = by_id[row["request_id"]]
        assert stored["time"] == datetime.fromisoformat(row["time"])
        assert (stored["status"], stored["prompt_tokens"], stored["max_tokens"]) == (200, 9, 64)
        assert (stored["model"], stored["prompt"]) == ("big", row["prompt"])
    assert {by_id[row["request_id"]]["stream"] for row in ROWS[10:18]} == {False}
    # What fits no column is null and counted.
    assert report.files[-1].tally["unfit"] == {"status": 10}
    assert {by_id[row["request_id"]]["status"] for row in ROWS[50:]} == {None}
    store = TrafficStore.reading(tmp_path / "store")
    assert all(pq.read_schema(p).equals(store_schema("full")) for p in store.parts())


def test_clocks_that_are_wrong_either_way_are_counted_and_said(
    ingest: Ingest, tmp_path: Path
) -> None:
    rows = [
        *ROWS[:20],
        request(90, time="2026-03-20T00:04:59Z"),  # clocks differ by so much
        request(91, time="2026-03-20T00:05:01Z"),
        request(92, time="2099-12-31T23:59:59Z"),
        request(93, time="2025-03-02T00:00:00Z"),  # a year before, and it may be so
        request(94, time="2011-11-11T11:11:11Z"),
        request(95, time=1_000_000_000),
        request(96, time="1970-01-01T00:00:03Z"),  # a clock that was never set
        request(97, time=0),
        request(98, time="2126-03-01T00:00:00Z"),
    ]
    path = write_lines(tmp_path / "log.jsonl", *rows)
    report = ingest(path)
    (file,) = report.files
    assert (file.tally["kept"], file.tally["future"], file.tally["past"]) == (26, 2, 2)
    assert sum(file.tally["aside"].values()) == 3
    notes = " ".join(file.notes)
    assert "2 times lie in the future" in notes
    assert "2 times lie more than a year before the middle one" in notes
    assert len(held(tmp_path / "store")) == 26
    # Looking says the same as taking in.
    (seen,) = inspect_log(LogWanted((str(path),), now=NOW)).files
    assert seen.tally.notes() == file.notes


def test_an_old_log_is_no_wrong_clock(ingest: Ingest, tmp_path: Path) -> None:
    rows = [request(n, time=f"2019-0{1 + n % 9}-01T00:00:00Z") for n in range(40)]
    (file,) = ingest(write_lines(tmp_path / "log.jsonl", *rows)).files
    assert (file.tally["past"], file.tally["future"], file.tally["kept"]) == (0, 0, 40)


@pytest.mark.parametrize("privacy", ["metadata", "full"])
def test_columns_that_lack_switch_signals_off_and_cost_no_row(
    privacy: str, ingest: Ingest, tmp_path: Path
) -> None:
    rows = [{name: row[name] for name in ("account_id", "time")} for row in ROWS]
    ingest(write_lines(tmp_path / "log.jsonl", *rows), privacy=privacy)
    found = held(tmp_path / "store")
    # Without ids nothing tells a repeat from a second request.
    assert len(found) == 60 == len({row["request_id"] for row in found})
    assert {row["status"] for row in found} == {None}
    for verb in ("find", "cases"):
        result = CliRunner().invoke(app, ["watch", verb, str(tmp_path / "store")])
        assert result.exit_code == 0, result.output
    result = CliRunner().invoke(app, ["watch", "find", str(tmp_path / "store")])
    assert "off: hand-off (needs requests.status)" in result.stdout


def test_without_an_account_or_a_time_a_row_is_set_aside(ingest: Ingest, tmp_path: Path) -> None:
    rows = [*ROWS[:5], *without(ROWS[5:9], "account_id"), *without(ROWS[9:12], "time")]
    (file,) = ingest(write_lines(tmp_path / "log.jsonl", *rows)).files
    assert file.tally["kept"] == 5 and sorted(file.tally["aside"].values()) == [3, 4]


def test_rows_that_come_twice_count_once(ingest: Ingest, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    write_lines(folder / "0.jsonl", *ROWS[:30], *ROWS[:30], ROWS[0])
    write_typed(folder / "1.parquet", [*ROWS[20:40], *ROWS[20:40]])
    report = ingest(folder)
    found = held(tmp_path / "store")
    assert [row["request_id"] for row in found] == [
        row["request_id"]
        for row in sorted(ROWS[:40], key=lambda r: (r["time"], r["account_id"], r["request_id"]))
    ]
    store = TrafficStore.reading(tmp_path / "store")
    merged = sum(one.merged for one in store.ingested.sources.values())
    assert merged == 31 + 20 + 10
    assert sum(report.days.values()) == 40
    notes = " ".join(note for one in report.files for note in one.notes)
    assert "rows repeat a request of their day, and are merged" in notes


def test_without_ids_repeats_are_kept_and_that_is_said(ingest: Ingest, tmp_path: Path) -> None:
    rows = without(ROWS[:10], "request_id")
    (file,) = ingest(write_lines(tmp_path / "log.jsonl", *rows, *rows)).files
    assert file.tally["kept"] == 20 and len(held(tmp_path / "store")) == 20
    assert any("20 rows have no request_id" in note for note in file.notes)


def test_times_of_all_zones_are_the_same_moment(ingest: Ingest, tmp_path: Path) -> None:
    said = ("2026-03-01T12:00:00Z", "2026-03-01T13:00:00+01:00", "2026-03-01 07:00:00-05",
            1_772_366_400, 1_772_366_400_000)  # fmt: skip
    rows = [request(n, time=time) for n, time in enumerate(said)]
    ingest(write_lines(tmp_path / "log.jsonl", *rows))
    moments = {row["time"] for row in held(tmp_path / "store")}
    assert moments == {datetime(2026, 3, 1, 12, tzinfo=UTC)}


def test_a_place_that_is_no_store_is_refused_with_the_option_that_names_it(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log.jsonl"
    write_lines(log, *ROWS[:3])
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("")
    for place in (log, log / "below", tmp_path / "other"):
        refused = CliRunner().invoke(app, ["watch", "ingest", str(log), "--into", str(place)])
        assert refused.exit_code == 2 and "--into" in refused.output, refused.output
        assert "--out" not in refused.output
