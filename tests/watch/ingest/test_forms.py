"""Every form of log gives the same rows of the schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import traffic_logs as logs
from traffic_logs import Ingest, mapped, request, write_lines, write_table

from potstill.errors import PotstillError
from potstill.watch.ingest.recognise import recognised

ROWS = [request(n) for n in range(6)]
# What every form says; the others are said by some.
COMMON = (
    *("request_id", "account_id", "model", "prompt_tokens", "completion_tokens", "temperature"),
    *("max_tokens", "system", "prompt", "response", "client"),
)


def check(found: list[dict[str, Any]], *, without: tuple[str, ...] = ()) -> None:
    assert [row["_flaw"] for row in found] == [None] * len(ROWS)
    for name in COMMON:
        if name not in without:
            assert [row[name] for row in found] == [row[name] for row in ROWS], name
    for row, expected in zip(found, ROWS, strict=True):
        assert row["time"].isoformat() in (
            expected["time"].replace("Z", "000+00:00"),
            expected["time"].replace(".250Z", ".250000+00:00"),
        )
        assert row["_unfit"] == 0


CASES = {
    "potstill": (ROWS, "potstill", ()),
    "litellm": ([logs.litellm(row) for row in ROWS], "litellm", ()),
    "openai": ([logs.openai(row) for row in ROWS], "openai", ()),
    "otel": ([logs.span(row) for row in ROWS], "otel", ("request_id",)),
    "otel-structured": ([logs.span(r, structured=True) for r in ROWS], "otel", ("request_id",)),
    "otel-flat": ([logs.flat_span(row) for row in ROWS], "otel-flat", ()),
    "otel-legacy": ([logs.flat_span(r, logs.legacy(r)) for r in ROWS], "otel-flat", ()),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("end", [".jsonl", ".parquet", ".jsonl.gz", ".jsonl.zst"])
def test_a_form_gives_the_rows_it_was_made_of(
    name: str, end: str, engine: Any, tmp_path: Path
) -> None:
    rows, form, without = CASES[name]
    if end != ".jsonl" and name not in ("litellm", "otel-structured"):
        pytest.skip("one form of each nesting is enough for the kinds of files")
    path = tmp_path / f"log{end}"
    write_table(path, rows) if end == ".parquet" else write_lines(path, *rows)
    assert recognised(engine, path, {}).form.name == form
    check(mapped(engine, path), without=without)


@pytest.mark.parametrize("structured", [False, True])
def test_what_the_collector_exports_is_unpacked(
    structured: bool, engine: Any, tmp_path: Path
) -> None:
    lines = [logs.otlp(ROWS[:4], structured=structured), logs.otlp(ROWS[4:], structured=structured)]
    path = write_lines(tmp_path / "traces.jsonl", *lines)
    found = mapped(engine, path)
    check(found, without=("request_id",))
    assert [row["request_id"] for row in found] == [f"t1/{row['request_id']}" for row in ROWS]
    assert [row["product"] for row in found] == ["api"] * 6
    assert [row["latency_s"] for row in found] == [1.25] * 6
    assert [row["_place"] for row in found] == [1, 1, 1, 1, 2, 2]


def test_account_and_time_may_be_anywhere(engine: Any, tmp_path: Path) -> None:
    rows = [{"who": {"tenant.id": "x", "deep": {"er": "y"}}, "at": 1_772_000_000, "said": "hi"}]
    path = write_lines(tmp_path / "own.jsonl", *rows)
    renames = {"account_id": "who.tenant.id", "time": "at", "prompt": "said"}
    (row,) = mapped(engine, path, renames)
    assert (row["account_id"], row["prompt"], row["_flaw"]) == ("x", "hi", None)
    (row,) = mapped(engine, path, {**renames, "account_id": "who.deep.er"})
    assert row["account_id"] == "y"


def test_a_stated_field_takes_the_place_of_a_forms(engine: Any, tmp_path: Path) -> None:
    path = write_lines(tmp_path / "log.jsonl", *CASES["litellm"][0])
    found = mapped(engine, path, {"account_id": "metadata.user_api_key_team_id"})
    assert {row["account_id"] for row in found} == {"t"}


def test_spans_that_ask_no_model_are_told_apart(engine: Any, tmp_path: Path) -> None:
    tool = logs.span(ROWS[0])
    tool["attributes"]["gen_ai.operation.name"] = "execute_tool"
    http = {**logs.span(ROWS[1]), "attributes": {"http.request.method": "GET"}}
    path = write_lines(tmp_path / "log.jsonl", logs.span(ROWS[2]), tool, http)
    assert [row["_flaw"] for row in mapped(engine, path)] == [
        None,
        "no request of a model",
        "no request of a model",
    ]


def test_failed_requests_without_usage_are_requests(engine: Any, tmp_path: Path) -> None:
    failed = {
        **CASES["litellm"][0][0],
        "status": "failure",
        "response": "{}",
        "prompt_tokens": None,
        "completion_tokens": None,
        "metadata": json.dumps({"error_information": {"error_code": "429"}}),
    }
    silent = {**failed, "metadata": "{}", "request_id": "r9"}
    path = write_lines(tmp_path / "log.jsonl", failed, silent)
    one, other = mapped(engine, path)
    assert (one["status"], one["prompt_tokens"], one["response"], one["_flaw"]) == (
        *(429, None, None),
        None,
    )
    # What a failure without a code was, nobody guesses.
    assert other["status"] is None


def test_a_value_that_fits_no_column_is_null_and_counted(engine: Any, tmp_path: Path) -> None:
    odd = request(0, status="ok", temperature="warm", prompt_tokens=-4, max_tokens=1.5, stream="?")
    path = write_lines(tmp_path / "log.jsonl", odd)
    (row,) = mapped(engine, path)
    names = ("status", "temperature", "prompt_tokens", "max_tokens", "stream")
    assert [row[name] for name in names] == [None] * 5
    assert row["_unfit"].bit_count() == 5


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("2026-03-01T10:00:00.123456Z", "2026-03-01T10:00:00.123456+00:00"),
        ("2026-03-01 12:00:00+02:00", "2026-03-01T10:00:00+00:00"),
        ("2026-03-01T10:00:00", "2026-03-01T10:00:00+00:00"),
        (1_772_359_200, "2026-03-01T10:00:00+00:00"),
        (1_772_359_200.25, "2026-03-01T10:00:00.250000+00:00"),
        ("1772359200123", "2026-03-01T10:00:00.123000+00:00"),
        (1_772_359_200_123_456, "2026-03-01T10:00:00.123456+00:00"),
        ("1772359200123456789", "2026-03-01T10:00:00.123456+00:00"),
        ("yesterday", None),
        (7, None),
        ("1e30", None),
        ("99999-01-01T00:00:00Z", None),
        (True, None),
    ],
)
def test_times_are_read_however_they_are_written(
    written: Any, expected: str | None, engine: Any, tmp_path: Path
) -> None:
    path = write_lines(tmp_path / "log.jsonl", request(0), request(1, time=written))
    row = mapped(engine, path)[1]
    assert (row["time"] and row["time"].isoformat()) == expected
    assert row["_flaw"] == (None if expected else "no time")


def test_text_is_what_the_user_said_last(engine: Any, tmp_path: Path) -> None:
    row = logs.openai(ROWS[0])
    row["request"]["messages"] = [
        {"role": "developer", "content": [{"type": "text", "text": "Short."}]},
        {"role": "user", "content": "first"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "a "},
                {"type": "image_url", "image_url": {"url": "data:"}},
                {"type": "text", "text": "b"},
            ],
        },
        {"role": "tool", "content": "result"},
    ]
    path = write_lines(tmp_path / "log.jsonl", row)
    (found,) = mapped(engine, path)
    assert (found["system"], found["prompt"]) == ("Short.", "a b")
    assert json.loads(found["messages"]) == row["request"]["messages"]


def test_a_stored_response_and_the_other_interfaces_are_read(engine: Any, tmp_path: Path) -> None:
    about = {"account_id": "a", "created": 1_772_359_200}
    stored = {**about, "id": "s", "messages": logs.chat(ROWS[0]), **logs.body(ROWS[0])}
    responses = {
        **about,
        "request": {"model": "big", "instructions": "Be brief.", "input": "Is 0 prime?"},
        "response": {
            "id": "x",
            "output": [
                {"type": "reasoning", "summary": []},
                {"type": "message", "content": [{"type": "output_text", "text": "No."}]},
            ],
            "usage": {"input_tokens": 9, "output_tokens": 3},
        },
    }
    anthropic = {
        **about,
        "request": {"system": "Be brief.", "messages": logs.chat(ROWS[0])[1:]},
        "response": {"id": "y", "content": [{"type": "text", "text": "No."}]},
    }
    path = write_lines(tmp_path / "log.jsonl", stored, responses, anthropic)
    for row in mapped(engine, path):
        assert (row["prompt"], row["system"], row["response"]) == (
            *("Is 0 prime?", "Be brief."),
            "No.",
        )


def test_a_table_that_is_no_log_is_refused_with_the_way_out(engine: Any, tmp_path: Path) -> None:
    from potstill.errors import PotstillError

    path = write_lines(tmp_path / "x.jsonl", {"colour": "red"})
    with pytest.raises(PotstillError, match=r"its fields: colour.*--map account_id=FIELD"):
        recognised(engine, path, {})


def test_types_of_columns_do_not_matter(engine: Any, tmp_path: Path) -> None:
    import pyarrow as pa

    table = pa.Table.from_pylist(ROWS)
    moments = [row["time"] for row in mapped(engine, write_table(tmp_path / "a.parquet", ROWS))]
    naive = pa.array([m.replace(tzinfo=None) for m in moments], pa.timestamp("ns"))
    at = table.schema.get_field_index("time")
    path = tmp_path / "typed.parquet"
    pq.write_table(table.set_column(at, "time", naive), path)
    found = mapped(engine, path)
    check(found)
    assert all(row["_no_zone"] for row in found)


@pytest.mark.parametrize("name", ["log.jsonl", "log.jsonl.gz", "log.jsonl.zst"])
@pytest.mark.parametrize("content", [b"", b"\n  \n", b"no log\n"])
def test_a_file_without_rows_says_so(
    name: str, content: bytes, engine: Any, tmp_path: Path
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(PotstillError, match=r"no line that can be read|is a JSON object"):
        recognised(engine, path, {})


def test_a_table_without_rows_says_so(engine: Any, tmp_path: Path) -> None:
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table({"account_id": pa.array([], pa.string())}), path)
    with pytest.raises(PotstillError, match="has no rows"):
        recognised(engine, path, {})


def test_numbers_beyond_a_column_fit_none_and_cost_no_row(ingest: Ingest, tmp_path: Path) -> None:
    rows = {
        "account_id": ["a", "a", "a"],
        "time": ["2026-03-01T00:00:00Z"] * 3,
        "prompt_tokens": [1e300, 3.0, float("nan")],
    }
    path = tmp_path / "log.parquet"
    pq.write_table(pa.table(rows), path)
    (found,) = ingest(path).files
    assert found.tally["kept"] == 3 and found.tally["unfit"] == {"prompt_tokens": 2}
