"""Odd columns of a Parquet file, which prompts and stored calls do not need."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from potstill.collect.prompts import read_prompts
from potstill.logs.columns import column_values
from potstill.logs.reading import read_calls
from potstill.recipe import CallsConfig, PromptsConfig

AFTER_9999 = 4 * 10**17  # microseconds
LATE = pa.array([0, AFTER_9999], pa.int64()).cast(pa.timestamp("us"))
BROKEN = pa.Array.from_buffers(
    pa.string(), 2, [None, pa.array([0, 1, 3], pa.int32()).buffers()[1], pa.py_buffer(b"a\xff\xfe")]
)
ODD = {
    "late": LATE,
    "late day": pa.array([1, 4 * 10**6], pa.int32()).cast(pa.date32()),
    "late and null": pa.array([None, AFTER_9999], pa.int64()).cast(pa.timestamp("us")),
    "nanosecond times": pa.array([1, 1001], pa.int64()).cast(pa.time64("ns")),
    "nanoseconds": pa.array([1, 2**62], pa.timestamp("ns")),
    "long": pa.array([1, 2**62], pa.duration("ns")),
    "longest": pa.array([1, 2**62], pa.duration("s")),
    "offset": pa.array([1, 1001], pa.timestamp("us", tz="+05:30")),
    "short offset": pa.array([1, 1001], pa.timestamp("ns", tz="+05")),
    "no zone": pa.array([1, 1001], pa.timestamp("ms", tz="Mars/Phobos")),
    "in a struct": pa.StructArray.from_arrays([LATE, pa.array(["a", "b"])], ["at", "x"]),
    "in a list": pa.ListArray.from_arrays([0, 1, 2], LATE),
    "in a dictionary": LATE.dictionary_encode(),
    "not UTF-8": BROKEN,
}


@pytest.mark.parametrize("name", ODD)
def test_a_column_that_nobody_asks_for_costs_nothing(name: str, tmp_path) -> None:
    path = tmp_path / "t.parquet"
    asked = pa.array(["Name a fruit.", "Name a town."])
    table = pa.table({"prompt": asked, "completion": pa.array(["Fig.", "Bern."]), "at": ODD[name]})
    pq.write_table(table, path)
    read = read_prompts(str(path), PromptsConfig(source=str(path)))
    assert [turns.messages[0]["content"] for turns in read] == asked.to_pylist()
    log = read_calls(CallsConfig(path=str(path)))
    assert sorted(call.answer.response for call in log.calls) == ["Bern.", "Fig."]


def test_values_that_python_knows_stay_and_others_are_text() -> None:
    first, late = column_values(LATE)
    assert first == dt.datetime(1970, 1, 1)
    assert late.startswith("14645-06-30 15:06:40")
    assert column_values(ODD["offset"])[0].utcoffset() == dt.timedelta(hours=5, minutes=30)
    assert column_values(BROKEN) == ["a", "\udcff\udcfe"]
    assert column_values(pa.chunked_array([LATE, LATE]))[2] == first
    assert column_values(pa.array([], pa.timestamp("ns"))) == []
