"""Rows of a log: one damaged row does not cost the others."""

from __future__ import annotations

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from potstill.errors import PotstillError
from potstill.logs import lines
from potstill.logs.call import Reason
from potstill.logs.lines import BadRow, log_rows
from potstill.logs.rows import SourceRow

FILES = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def seen(path) -> list:
    return [r.values if isinstance(r, SourceRow) else r.reason for r in log_rows(str(path))]


def test_jsonl_keeps_places_and_counts_what_it_cannot_read(write) -> None:
    deep = "[" * 100_000
    path = write(
        "log.jsonl",
        b"\xef\xbb\xbf" + b'{"a": 1}',
        "",
        "{",
        "[1]",
        '{"a": NaN}',
        deep,
        b'{"a": "\xff"}',
        '{"a": ' + "9" * 5000 + "}",
        '{"a": "\\ud800"}\r',
    )
    found = list(log_rows(path))
    assert [r.place.removeprefix("log.jsonl, ") for r in found] == [
        f"line {n}" for n in (1, 3, 4, 5, 6, 7, 8, 9)
    ]
    assert [r.values for r in found if isinstance(r, SourceRow)] == [{"a": 1}, {"a": "\ud800"}]
    assert {r.reason for r in found if isinstance(r, BadRow)} == {Reason.UNREADABLE}


def test_a_line_that_is_far_too_long_is_passed_over(write, monkeypatch) -> None:
    monkeypatch.setattr(lines, "_LONGEST_LINE", 32)
    path = write("log.jsonl", '{"a": 1}', '{"a": "' + "x" * 100 + '"}', '{"a": 2}')
    assert seen(path) == [{"a": 1}, Reason.TOO_LONG, {"a": 2}]


def test_csv_with_long_cells_and_damaged_lines(write) -> None:
    long = "x" * 200_000
    path = write("t.csv", "a,b", f'"{long}",1', "1,2,3", "4", b"\xff,5", 'q"q,1', '"x"y,1', "6,7")
    assert seen(path) == [
        {"a": long, "b": "1"},
        Reason.UNREADABLE,
        {"a": "4", "b": None},
        {"a": "\udcff", "b": "5"},
        {"a": 'q"q', "b": "1"},
        Reason.UNREADABLE,
        {"a": "6", "b": "7"},
    ]


def test_parquet_comes_in_batches_with_row_numbers(tmp_path) -> None:
    pq.write_table(pa.table({"n": range(600)}), tmp_path / "t.parquet")
    found = list(log_rows(str(tmp_path / "t.parquet")))
    assert [(r.values["n"], r.place) for r in found if isinstance(r, SourceRow)][-1] == (
        599,
        "t.parquet, row 600",
    )
    assert len(found) == 600


@pytest.mark.parametrize("name", ["g.jsonl", "g.csv", "g.jsonl.gz"])
@FILES
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_garbage_is_counted_and_never_crashes(tmp_path, name, garbage) -> None:
    content = b"\n".join(garbage)
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    try:
        for row in log_rows(str(tmp_path / name)):
            assert isinstance(row, SourceRow | BadRow)
    except PotstillError as error:
        if "in its header" not in str(error):  # a header of several names in one cell
            raise
