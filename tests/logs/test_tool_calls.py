"""Logs with tool calls: every form becomes one, and what cannot be represented is counted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from potstill.exchanges.exchange import exchange_id_of
from potstill.logs.call import Ask, LoggedAnswer, Reason
from potstill.logs.litellm import read_litellm
from potstill.logs.readers import Columns, read_chat, read_table
from potstill.text.turns import prompt_id_of

ASKED = {"role": "user", "content": "Where is parcel 7?"}
FUNCTION = {"name": "find", "description": "d", "parameters": {"type": "object", "properties": {}}}
TOOLS = [{"type": "function", "function": FUNCTION}]
TOOLS_TEXT = json.dumps(TOOLS, separators=(",", ":"))


def written(arguments: Any = '{"number": 7, "fast": true}', **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": "find", "arguments": arguments}, **more}


def kept(**more: Any) -> dict[str, Any]:
    function = {"name": "find", "arguments": {"number": 7, "fast": True}}
    return {**more, "type": "function", "function": function}


def says(content: Any, *calls: Any, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content, "tool_calls": list(calls), **more}


def result(content: Any = "in Rome", **more: Any) -> dict[str, Any]:
    return {"role": "tool", "content": content, **more}


def completion(message: Mapping[str, Any], finish: str | None = "tool_calls") -> dict[str, Any]:
    return {"model": "big", "choices": [{"message": message, "finish_reason": finish}]}


def chat(message: Mapping[str, Any], finish: str | None = "tool_calls", **request: Any) -> dict:
    body = {"model": "big", "messages": [ASKED], "tools": TOOLS, **request}
    return {"request": body, "response": completion(message, finish)}


def only(row: dict[str, Any]) -> LoggedAnswer | Reason:
    (answer,) = read_chat(row).answers
    return answer


# Answers


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (says("Let me look.", written(id="c1")), "Let me look."),
        (says(None, written(id="c1")), ""),
        (says("", written(id="c1")), ""),
        (says([{"type": "text", "text": "Let me "}], written(id="c1")), "Let me "),
        (says("<think>Hm.</think>\n", written(id="c1")), ""),
        ({"role": "assistant", "tool_calls": [written(id="c1")]}, ""),
    ],
)
@pytest.mark.parametrize("finish", ["tool_calls", "stop", "function_call", "TOOL_USE"])
def test_an_answer_that_calls_is_whole_with_its_text_and_its_call(message, text, finish) -> None:
    record = read_chat(chat(message, finish))
    assert record.ask == Ask((ASKED,), record.ask.sampling, TOOLS_TEXT)  # type: ignore[union-attr]
    (answer,) = record.answers
    assert isinstance(answer, LoggedAnswer)
    assert answer.response == text
    assert json.loads(answer.tool_calls or "") == [kept(id="c1")]
    order = list(json.loads(answer.tool_calls or "")[0]["function"]["arguments"])
    assert order == ["number", "fast"], "arguments stay in the order of the teacher"


def test_parallel_calls_stay_in_order() -> None:
    answer = only(chat(says(None, written(id="a"), written("{}", id="b"))))
    assert isinstance(answer, LoggedAnswer)
    assert [call["id"] for call in json.loads(answer.tool_calls or "")] == ["a", "b"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (says(None, written('{"number": 7, "fa')), Reason.CALL_ARGUMENTS),
        (says("Let me look.", written("[7]")), Reason.CALL_ARGUMENTS),
        (says(None, written(), written("seven")), Reason.CALL_ARGUMENTS),
        (says(None, {"type": "custom", "custom": {"name": "x", "input": "y"}}), Reason.TOOL_KIND),
        (says(None, {"type": "function", "function": {}}), Reason.CALL_NAME),
        (says("Let me look."), Reason.CALL_NOT_STORED),
        (says(None), Reason.CALL_NOT_STORED),
        (says(None, written('{"a": "\\ud800"}')), Reason.NOT_TEXT),
        (says(None, written("redacted-by-litellm")), Reason.REDACTED),
        (says(None, written('{"a": "b (litellm_truncated skipped 9 chars) c"}')), Reason.CUT),
        (says([{"type": "server_tool_use", "name": "find", "input": {}}]), Reason.TOOL_KIND),
    ],
)
def test_calls_that_cannot_be_trained_have_a_reason(message, reason) -> None:
    assert only(chat(message)) is reason


@pytest.mark.parametrize("finish", ["tool_calls", "function_call", "tool_use", " TOOL_CALLS"])
def test_a_text_before_a_call_that_is_not_there_is_no_answer(finish) -> None:
    assert only(chat(says("Let me look."), finish)) is Reason.CALL_NOT_STORED
    bare = {"role": "assistant", "content": "Let me look."}
    assert only(chat(bare, finish)) is Reason.CALL_NOT_STORED


def test_tools_may_stand_beside_the_request() -> None:
    row = {**chat(says(None, written())), "tools": TOOLS}
    del row["request"]["tools"]
    ask = read_chat(row).ask
    assert isinstance(ask, Ask) and ask.tools == TOOLS_TEXT


def test_a_text_that_ended_otherwise_needs_no_call() -> None:
    assert only(chat(says("Here it is."), "stop")) == LoggedAnswer(
        "Here it is.", finish_reason="stop"
    )


# Prompts


TURNS = [ASKED, says(" Let me look. ", written(id="c1")), result(" in Rome\n", tool_call_id="c1")]
STORED = (
    ASKED,
    {"role": "assistant", "content": " Let me look. ", "tool_calls": [kept(id="c1")]},
    {"role": "tool", "content": " in Rome\n", "tool_call_id": "c1"},
)


def test_a_prompt_may_hold_calls_and_end_with_a_tools_result() -> None:
    record = read_chat({"messages": [*TURNS, {"role": "assistant", "content": "In Rome."}]})
    assert isinstance(record.ask, Ask) and record.ask.messages == STORED
    assert record.answers == (LoggedAnswer("In Rome."),)


def test_the_older_form_of_functions_is_the_same() -> None:
    old = {
        "functions": [FUNCTION],
        "messages": [
            ASKED,
            {
                "role": "assistant",
                "content": None,
                "function_call": {"name": "find", "arguments": '{"number": 7, "fast": true}'},
            },
            {"role": "function", "name": "find", "content": "in Rome"},
            {"role": "assistant", "content": "In Rome."},
        ],
    }
    record = read_chat(old)
    assert isinstance(record.ask, Ask)
    assert record.ask.tools == TOOLS_TEXT
    assert record.ask.messages == (
        ASKED,
        {"role": "assistant", "content": "", "tool_calls": [kept()]},
        {"role": "tool", "content": "in Rome", "name": "find"},
    )
    call = {"role": "assistant", "function_call": {"name": "find", "arguments": ""}}
    answer = only({"request": {"messages": [ASKED]}, "response": completion(call, "function_call")})
    assert isinstance(answer, LoggedAnswer)
    assert json.loads(answer.tool_calls or "")[0]["function"] == {"name": "find", "arguments": {}}


def test_a_fine_tuning_example_with_tools_ends_with_a_call() -> None:
    row = {
        "messages": [ASKED, says(None, written(id="c1"), weight=1)],
        "tools": TOOLS,
        "parallel_tool_calls": False,
    }
    record = read_chat(row)
    assert isinstance(record.ask, Ask) and record.ask.tools == TOOLS_TEXT
    (answer,) = record.answers
    assert isinstance(answer, LoggedAnswer) and answer.tool_calls
    row["messages"][-1]["weight"] = 0
    assert only(row) is Reason.WEIGHT_ZERO


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([ASKED, result(), ASKED], Reason.RESULT_WITHOUT_CALL),
        ([result()], Reason.RESULT_WITHOUT_CALL),
        ([ASKED, {"role": "function", "name": "f", "content": "x"}], Reason.RESULT_WITHOUT_CALL),
        (
            [ASKED, says(None, written(id="a")), result(tool_call_id="b")],
            Reason.RESULT_WITHOUT_CALL,
        ),
        ([*TURNS, {"role": "system", "content": "x"}], Reason.OPEN_PROMPT),
        ([ASKED, says(None, written("{")), result()], Reason.CALL_ARGUMENTS),
        ([ASKED, says(None, {"type": "computer"}), result()], Reason.TOOL_KIND),
        ([ASKED, says(None, written()), result({"city": "Rome"})], Reason.NOT_TEXT),
        ([ASKED, says(None, written()), result([{"type": "image_url"}])], Reason.MEDIA),
        ([ASKED, says(None, written()), result("a\0")], Reason.NOT_TEXT),
        ([ASKED, says(None, written()), result("redacted-by-litellm")], Reason.REDACTED),
    ],
)
def test_prompts_that_cannot_be_represented_have_a_reason(messages, reason) -> None:
    row = {"request": {"messages": messages}, "response": "Yes."}
    assert read_chat(row).ask is reason


@pytest.mark.parametrize(
    ("tools", "reason"),
    [
        ([{"type": "web_search"}], Reason.TOOL_KIND),
        ([*TOOLS, {"type": "code_interpreter"}], Reason.TOOL_KIND),
        ([{"function": {"description": "no name"}}], Reason.TOOLS_UNREADABLE),
        ("a hammer", Reason.TOOLS_UNREADABLE),
        (
            [{"function": {**FUNCTION, "description": "(litellm_truncated skipped 5 chars)"}}],
            Reason.CUT,
        ),
    ],
)
def test_tools_that_cannot_be_represented_have_a_reason(tools, reason) -> None:
    assert read_chat(chat(says("Yes."), "stop", tools=tools)).ask is reason


# The other forms


def test_litellm_rows_hold_calls_in_request_and_response() -> None:
    row = {
        "request_id": "a",
        "call_type": "acompletion",
        "model": "big",
        "messages": "{}",
        "proxy_server_request": json.dumps({"messages": TURNS, "tools": TOOLS}),
        "response": json.dumps(completion(says(None, written(id="c2")))),
    }
    record = read_litellm(row)
    assert isinstance(record.ask, Ask)
    assert (record.ask.messages, record.ask.tools) == (STORED, TOOLS_TEXT)
    (answer,) = record.answers
    assert isinstance(answer, LoggedAnswer)
    assert json.loads(answer.tool_calls or "") == [kept(id="c2")]


def test_a_table_has_columns_for_tools_and_calls() -> None:
    calls = [written(id="c2")]
    row = {"q": TURNS, "a": None, "tools": json.dumps(TOOLS), "tool_calls": json.dumps(calls)}
    for cells in (row, {**row, "tools": TOOLS, "tool_calls": calls, "a": ""}):
        record = read_table(cells, Columns("q", "a"))
        assert isinstance(record.ask, Ask)
        assert (record.ask.messages, record.ask.tools) == (STORED, TOOLS_TEXT)
        (answer,) = record.answers
        assert isinstance(answer, LoggedAnswer) and answer.response == ""
        assert json.loads(answer.tool_calls or "") == [kept(id="c2")]
    plain = read_table(
        {"q": "Hello", "a": "Hi.", "tools": "", "tool_calls": None}, Columns("q", "a")
    )
    assert plain.answers == (LoggedAnswer("Hi."),)
    assert read_table({"q": "Hello", "a": None}, Columns("q", "a")).answers == (Reason.NO_RESPONSE,)
    broken = {"q": "Hello", "a": "Hi.", "tools": "not tools"}
    assert read_table(broken, Columns("q", "a")).ask is Reason.TOOLS_UNREADABLE


def test_structs_of_parquet_that_hold_nulls_are_left_out_and_text_is_read(tmp_path, take) -> None:
    """A struct column gives every call the arguments of all others, null where it had none."""
    rows = [{"messages": [ASKED], "response": f"Yes, {i}."} for i in range(6)]
    for i, row in enumerate(rows):
        row["messages"] = [{"role": "user", "content": f"Parcel {i} {i}x {i}y?"}]
    calls = [{"type": "function", "function": {"name": "f", "arguments": {key: 1}}} for key in "ab"]
    last = [*rows[0]["messages"], {"role": "assistant", "content": "", "tool_calls": calls}]
    pq.write_table(pa.Table.from_pylist([*rows, {"messages": last}]), tmp_path / "structs.parquet")
    report = take(str(tmp_path / "structs.parquet")).report
    assert report.left_out == {str(Reason.FILLED_IN): 1}
    texts = [{**row, "messages": json.dumps(row["messages"])} for row in rows]
    pq.write_table(
        pa.Table.from_pylist([*texts, {"messages": json.dumps(last)}]), tmp_path / "texts.parquet"
    )
    found = take(str(tmp_path / "texts.parquet"))
    assert not found.report.left_out
    (calling,) = [e for e in found.exchanges if e.calls]
    assert [call["function"]["arguments"] for call in calling.calls] == [{"a": 1}, {"b": 1}]


def some(count: int = 6) -> list[dict[str, Any]]:
    return [
        chat(says(f"To {w}."), "stop", messages=[{"role": "user", "content": f"{w} {w}x {w}y"}])
        for w in ("aa", "bb", "cc", "dd", "ee", "ff")[:count]
    ]


def test_exchanges_carry_tools_and_calls_and_their_ids_cover_them(write, take) -> None:
    row = chat(says("Let me look.", written(id="c1")), messages=TURNS)
    calls = take(write("log.jsonl", *some(), row))
    found = next(e for e in calls.exchanges if e.tool_calls)
    assert (found.response, found.messages, found.tools) == ("Let me look.", STORED, TOOLS_TEXT)
    assert found.calls == [kept(id="c1")] and found.finish_reason == "stop"
    assert found.prompt_id == prompt_id_of(STORED, TOOLS_TEXT)
    sampling, tools = found.sampling, found.tool_list
    assert found.exchange_id == exchange_id_of(found.teacher, STORED, sampling, 0, tools=tools)
    planned = next(p for p in calls.plan.prompts if p.prompt_id == found.prompt_id)
    assert planned.tools == TOOLS_TEXT
    assert not calls.report.left_out
    assert calls.report.finish_reasons == {"whole": 6, "calls of tools": 1}


def test_a_batch_keeps_tools_and_calls(write, take) -> None:
    requests = [{"custom_id": str(i), "body": {**row["request"]}} for i, row in enumerate(some())]
    outputs = [
        {"custom_id": str(i), "response": {"body": completion(says(None, written(id=f"c{i}")))}}
        for i in range(6)
    ]
    calls = take(write("in.jsonl", *requests), write("out.jsonl", *outputs))
    assert len(calls.exchanges) == 6
    assert all(e.tools == TOOLS_TEXT and len(e.calls) == 1 for e in calls.exchanges)


def test_calls_without_known_tools_are_counted(write, take) -> None:
    row = chat(says(None, written(id="c1")))
    del row["request"]["tools"]
    report = take(write("log.jsonl", *some(), row)).report
    assert report.missing["tools"] == 1
    assert any("does not state" in note and "tools (1)" in note for note in report.notes())


def test_what_is_left_out_is_counted_with_its_place(write, take) -> None:
    cut = chat(says(None, written('{"number": 7')))
    lost = chat(says("Let me look."))
    kind = chat(says("Yes."), "stop", tools=[{"type": "web_search"}])
    report = take(write("log.jsonl", *some(), cut, lost, kind, cut)).report
    assert report.left_out == {
        "a tool call whose arguments are no JSON object": 2,
        "a kind of tool that is no function": 1,
        "ended to call a tool, without the call": 1,
    }
    assert report.places[str(Reason.CALL_ARGUMENTS)] == ("log.jsonl, line 7", "log.jsonl, line 10")


def test_the_order_of_keys_and_of_rows_changes_nothing(write, take) -> None:
    turned = [{"function": dict(reversed(FUNCTION.items())), "type": "function"}]
    rows = [
        *some(),
        chat(says(None, written(id="c1"))),
        chat(says(None, written(id="c1")), tools=turned),
    ]
    one, other = take(write("a.jsonl", *rows)), take(write("a.jsonl", *reversed(rows)))
    assert one.exchanges == other.exchanges and one.plan == other.plan
    assert one.report.repeats == 1


def test_other_tools_make_another_prompt(write, take) -> None:
    other = [{"type": "function", "function": {"name": "find"}}]
    rows = [
        chat(says("a"), "stop"),
        chat(says("a"), "stop", tools=other),
        chat(says("a"), "stop", tools=[]),
    ]
    log = take(write("log.jsonl", *some(), *rows), use="prompts")
    asked = [p for p in log.plan.prompts if p.messages == (ASKED,)]
    assert {p.tools for p in asked} <= {TOOLS_TEXT, json.dumps(other, separators=(",", ":")), None}
    assert (log.report.calls, log.report.repeats) == (9, 0)


def test_the_length_of_a_call_counts(write, take) -> None:
    long = chat(says(None, written(json.dumps({"number": "7" * 900}))))
    calls = take(write("log.jsonl", *some(), long), max_characters=600)
    assert calls.report.left_out == {"too long": 1}
    tools = [{"type": "function", "function": {**FUNCTION, "description": "d" * 900}}]
    calls = take(
        write("log.jsonl", *some(), chat(says("Yes."), "stop", tools=tools)), max_characters=600
    )
    assert calls.report.left_out == {"too long": 1}
