"""LiteLLM's spend logs, and plain tables."""

from __future__ import annotations

import csv
import json
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from potstill.errors import PotstillError
from potstill.logs.call import Ask, LoggedAnswer, Reason
from potstill.logs.litellm import read_litellm
from potstill.logs.readers import Columns, read_table

BODY = {"model": "gpt-x", "messages": [{"role": "user", "content": "Hello"}], "temperature": 0}
RESPONSE = {
    "model": "gpt-x-2026",
    "created": 1,
    "choices": [{"message": {"role": "assistant", "content": "Hi."}, "finish_reason": "stop"}],
    "usage": {"completion_tokens": 3},
}


def spend_row(**changes) -> dict:
    """Return a row of LiteLLM_SpendLogs, as its proxy writes it with prompts stored."""
    return {
        "request_id": "chatcmpl-1",
        "call_type": "acompletion",
        "api_key": "hash-secret",
        "spend": 0.25,
        "total_tokens": 12,
        "prompt_tokens": 9,
        "completion_tokens": 3,
        "startTime": "2026-03-01T10:00:00.000Z",
        "endTime": "2026-03-01T10:00:01.250Z",
        "model": "gpt-x",
        "custom_llm_provider": "openai",
        "api_base": "https://user:secret@example.org",
        "metadata": {"user_api_key": "secret"},
        "messages": {},
        "response": RESPONSE,
        "proxy_server_request": BODY,
        "status": "success",
        **changes,
    }


def test_the_request_is_read_from_where_the_proxy_keeps_it() -> None:
    record = read_litellm(spend_row())
    assert isinstance(record.ask, Ask)
    assert record.ask.messages == ({"role": "user", "content": "Hello"},)
    assert record.ask.sampling["temperature"] == 0
    assert record.answers == (LoggedAnswer("Hi.", finish_reason="stop"),)
    facts = record.facts
    assert (facts.model, facts.provider, facts.returned_model) == ("gpt-x", "openai", "gpt-x-2026")
    assert facts.usage == {"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12}
    assert (facts.latency_s, facts.spend) == (1.25, 0.25)
    assert facts.created_at == "2026-03-01T10:00:00.000+00:00"
    assert "secret" not in repr(record)


def test_json_columns_may_be_text_and_messages_may_be_stored() -> None:
    row = spend_row(
        messages=json.dumps(BODY["messages"]),
        response=json.dumps(RESPONSE),
        proxy_server_request="{}",
        startTime="2026-03-01 10:00:00.5",
        endTime="2026-03-01 10:00:02+00",
    )
    record = read_litellm(row)
    assert isinstance(record.ask, Ask)
    assert record.answers == (LoggedAnswer("Hi.", finish_reason="stop"),)
    assert record.facts.latency_s == 1.5


def test_the_standard_logging_payload_is_read_too() -> None:
    row = {
        "id": "x",
        "call_type": "completion",
        "messages": BODY["messages"],
        "response": RESPONSE,
        "model_parameters": {"temperature": 0.5, "max_tokens": 7},
        "startTime": 1_760_000_000.0,
        "endTime": 1_760_000_002.5,
        "response_cost": 0.5,
        "status": "success",
        "model": "gpt-x",
    }
    record = read_litellm(row)
    assert isinstance(record.ask, Ask)
    assert (record.ask.sampling["temperature"], record.ask.sampling["max_tokens"]) == (0.5, 7)
    assert (record.facts.latency_s, record.facts.spend) == (2.5, 0.5)


@pytest.mark.parametrize("text", ["Plain words.", '{"label": "spam"}', '["a"]'])
def test_a_response_in_plain_text_may_be_json_that_the_model_wrote(text: str) -> None:
    assert read_litellm(spend_row(response=text)).answers == (LoggedAnswer(text),)


REDACTED = {"role": "user", "content": "redacted-by-litellm"}


@pytest.mark.parametrize(
    ("changes", "ask", "answer"),
    [
        ({"proxy_server_request": "{}"}, Reason.NOT_STORED, None),
        ({"proxy_server_request": None, "messages": None}, Reason.NOT_STORED, None),
        ({"messages": [REDACTED]}, Reason.REDACTED, None),
        ({"response": "{}"}, None, Reason.NOT_STORED),
        ({"response": {}}, None, Reason.NOT_STORED),
        ({"response": None}, None, Reason.NOT_STORED),
        ({"status": "failure"}, None, Reason.ERROR),
        ({"call_type": "aembedding"}, Reason.NO_CALL, Reason.NO_CALL),
    ],
)
def test_rows_without_text_have_a_reason(changes, ask, answer) -> None:
    record = read_litellm(spend_row(**changes))
    assert record.ask is ask if ask else isinstance(record.ask, Ask)
    assert record.answers[0] is answer if answer else isinstance(record.answers[0], LoggedAnswer)


def test_a_csv_of_spend_logs_says_what_is_missing(tmp_path: Path, take) -> None:
    def text(row: dict) -> dict:
        return {k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in row.items()}

    def asked(word: str) -> dict:
        return {"proxy_server_request": {**BODY, "messages": [{"role": "user", "content": word}]}}

    rows = [
        *(spend_row(request_id=w, **asked(f"{w} {w}x {w}y")) for w in ("aa", "bb", "cc", "dd")),
        spend_row(request_id="hit", cache_hit="True", **asked("aa aax aay")),
        spend_row(request_id="bad", status="failure"),
        spend_row(request_id="red", proxy_server_request={"messages": [REDACTED]}),
        spend_row(request_id="off", response={}, proxy_server_request={}),
    ]
    path = tmp_path / "spend.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0], "cache_hit"])
        writer.writeheader()
        writer.writerows(text(row) for row in rows)
    calls = take(str(path))
    report = calls.report
    assert report.form == "litellm"
    assert (report.rows, report.calls, report.used, report.repeats) == (8, 4, 4, 1)
    assert report.left_out == {"error": 1, "messages that the log does not hold": 1, "redacted": 1}
    assert report.places["redacted"] == ("spend.csv, line 8",)
    assert report.spend == 2.0
    assert report.missing == {f"sampling.{n}": 4 for n in ("max_tokens", "seed", "top_k", "top_p")}
    teachers = {e.teacher.partition("@")[0] for e in calls.exchanges}
    assert teachers == {"openai/gpt-x"}
    whole = json.dumps([report.record(), report.notes(), [repr(e) for e in calls.exchanges]])
    assert "secret" not in whole


# Spend


def paid(key: str, spend: float = 0.01, word: str | None = None, **changes) -> dict:
    asked = f"{word or key} {word or key}x {word or key}y"
    body = {**BODY, "messages": [{"role": "user", "content": asked}]}
    return spend_row(request_id=key, spend=spend, proxy_server_request=body, **changes)


OTHERS = [paid(word, 0.0) for word in ("bb", "cc", "dd")]
UNNAMED = {**paid("aa"), "request_id": None}


@pytest.mark.parametrize(
    ("rows", "spend"),
    [
        ([paid("aa"), paid("aa")], 0.01),
        ([paid("aa"), paid("aa"), paid("aa")], 0.01),
        ([paid("a1", word="aa"), paid("a2", word="aa")], 0.02),
        ([paid("aa"), paid("aa", 0.03)], 0.03),
        ([paid("aa", status="failure"), paid("aa", status="failure")], 0.01),
        ([paid("aa", response={}), paid("aa", response={})], 0.01),
        ([UNNAMED, UNNAMED], 0.01),
        ([UNNAMED, {**UNNAMED, "startTime": "2026-03-01T09:00:00Z"}], 0.02),
    ],
)
def test_a_row_that_comes_twice_was_paid_for_once(write, take, rows, spend) -> None:
    for order in (rows, rows[::-1]):
        report = take(write("spend.jsonl", *OTHERS, *order)).report
        assert report.spend == pytest.approx(spend)
    halves = (write("a.jsonl", *OTHERS, rows[0]), write("b.jsonl", *rows[1:]))
    assert take(*halves, form="litellm").report.spend == pytest.approx(spend)


# LiteLLM's latest_turn


def kept_by_latest_turn(body: dict) -> dict:
    """Return what `spend_logs_prompt_storage: latest_turn` leaves of a request (LiteLLM 1.110)."""
    kept = {key: value for key, value in body.items() if key == "model"}
    name = "messages" if "messages" in body else "input"
    last = body[name][-1]
    if last["role"] != "user" or not isinstance(last["content"], str):
        return kept
    return {**kept, name: [{"role": "user", "content": last["content"]}]}


TALK = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Is 7 prime?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "And 8?"},
]
PARTS = [{"type": "text", "text": "And 8?"}]
CUT_DOWN = [
    kept_by_latest_turn({"model": "gpt-x", "messages": TALK, "temperature": 0}),
    kept_by_latest_turn({"model": "gpt-x", "messages": TALK[-1:]}),
    kept_by_latest_turn({"model": "gpt-x", "input": TALK, "instructions": "Be brief."}),
    {
        **kept_by_latest_turn({"model": "gpt-x", "messages": TALK}),
        "originating_request_masked": {"messages": TALK[-1:]},
    },
    json.dumps(kept_by_latest_turn({"model": "gpt-x", "messages": TALK})),
]


@pytest.mark.parametrize("body", CUT_DOWN)
def test_what_may_be_a_last_turn_alone_is_no_whole_call(write, take, body) -> None:
    row = spend_row(request_id="cut", proxy_server_request=body)
    for use in ("exchanges", "prompts"):
        calls = take(write("spend.jsonl", *OTHERS, row), use=use)
        assert calls.report.left_out == {str(Reason.LAST_TURN): 1}
        assert calls.report.places == {str(Reason.LAST_TURN): ("spend.jsonl, line 4",)}
        notes = " ".join(calls.report.notes())
        assert "set collect.calls.whole_requests to true" in notes
    whole = take(write("spend.jsonl", *OTHERS, row), whole_requests=True)
    assert not whole.report.left_out
    with pytest.raises(PotstillError, match=r"set collect\.calls\.whole_requests to true"):
        take(write("spend.jsonl", row))


def test_a_request_of_which_such_a_row_keeps_no_turn_is_counted_too(write, take) -> None:
    ended_by_a_tool = [*TALK, {"role": "tool", "content": "x"}]
    body = kept_by_latest_turn({"model": "gpt-x", "messages": ended_by_a_tool})
    assert body == {"model": "gpt-x"}
    calls = take(write("spend.jsonl", *OTHERS, spend_row(proxy_server_request=body)))
    assert calls.report.left_out == {str(Reason.NOT_STORED): 1}


@pytest.mark.parametrize(
    "body",
    [
        {"model": "gpt-x", "messages": TALK[-1:], "temperature": 0},
        {"model": "gpt-x", "messages": TALK},
        {"model": "gpt-x", "messages": [{**TALK[-1], "name": "ann"}]},
        {"model": "gpt-x", "messages": [{"role": "user", "content": PARTS}]},
        {"model": "gpt-x", "input": "And 8?"},
        {"messages": TALK[-1:]},
    ],
)
def test_a_request_that_such_a_row_could_not_hold_is_whole(body) -> None:
    assert isinstance(read_litellm(spend_row(proxy_server_request=body)).ask, Ask)


# Tables


def test_a_table_takes_the_columns_that_the_recipe_names() -> None:
    row = {
        "q": "Hello",
        "a": "Hi.",
        "model": "big",
        "finish_reason": "length",
        "reasoning": "So.",
        "latency_s": "0.5",
        "created_at": datetime(2026, 3, 1, 10),
    }
    record = read_table(row, Columns("q", "a"))
    assert isinstance(record.ask, Ask)
    assert record.answers == (LoggedAnswer("Hi.", "So.", None, "length"),)
    assert (record.facts.model, record.facts.latency_s) == ("big", 0.5)
    assert record.facts.created_at == "2026-03-01T10:00:00.000+00:00"


def test_a_table_of_messages_and_bad_cells() -> None:
    turns = [{"role": "user", "content": "Hello"}]
    record = read_table({"prompt": turns, "response": "Hi."}, Columns())
    assert isinstance(record.ask, Ask)
    assert read_table({"prompt": None, "response": "x"}, Columns()).ask is Reason.NO_PROMPT
    assert read_table({"prompt": 5, "response": "x"}, Columns()).ask is Reason.NO_PROMPT
    assert read_table({"prompt": "a"}, Columns()).answers == (Reason.NO_RESPONSE,)
    assert read_table({"prompt": "a", "response": 5}, Columns()).answers == (Reason.NOT_TEXT,)


def test_parquet_with_times_in_nanoseconds_and_with_bytes_that_are_no_text(
    tmp_path: Path, take
) -> None:
    words = ["aa", "bb", "cc", "dd"]
    times = pa.array([10**18 + i for i in range(5)], pa.timestamp("ns"))
    raw = pa.array([w.encode() for w in words] + [b"\xff"]).view(pa.binary())
    prompts = pa.Array.from_buffers(pa.string(), 5, raw.buffers())
    table = pa.table({"prompt": prompts, "response": ["x"] * 5, "created_at": times})
    pq.write_table(table, tmp_path / "t.parquet")
    calls = take(str(tmp_path / "t.parquet"))
    assert {e.created_at for e in calls.exchanges} == {"2001-09-09T01:46:40.000+00:00"}
    assert calls.report.left_out == {"not text": 1}
    ((place,),) = calls.report.places.values()
    assert place.startswith("t.parquet, row 5: prompt holds half a surrogate pair")
