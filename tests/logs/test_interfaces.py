"""Anthropic's Messages and OpenAI's Responses, as calls; the latter made by OpenAI's own types."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openai.types.responses import Response

from potstill.logs.call import Ask, LoggedAnswer, Reason, Record
from potstill.logs.litellm import read_litellm
from potstill.logs.readers import read_chat

NOTHING = {"temperature": None, "top_p": None, "top_k": None, "max_tokens": None, "seed": None}


def user(content: Any) -> dict:
    return {"role": "user", "content": content}


def asked(row: dict) -> Ask:
    ask = read_chat(row).ask
    assert isinstance(ask, Ask), ask
    return ask


def answer(record: Record) -> LoggedAnswer:
    (found,) = record.answers
    assert isinstance(found, LoggedAnswer), found
    return found


# Anthropic's Messages

SCHEMA = {"type": "object", "properties": {"number": {"type": "integer"}}}
TOOL = {"name": "find", "description": "Where it is", "input_schema": SCHEMA}
USE = {"type": "tool_use", "id": "t1", "name": "find", "input": {"number": 7}}
CALL = {"type": "function", "function": {"name": "find", "arguments": {"number": 7}}}


def message(content: Any, stop: Any = "end_turn", **more: Any) -> dict:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "big-2026",
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": {
            "input_tokens": 5,
            "cache_creation_input_tokens": 2,
            "cache_read_input_tokens": 30,
            "output_tokens": 4,
        },
        **more,
    }


def text(words: str) -> dict:
    return {"type": "text", "text": words}


def test_a_request_with_its_message_has_its_system_first_and_its_blocks_apart() -> None:
    request = {
        "model": "big",
        "max_tokens": 64,
        "temperature": 0.5,
        "system": "Answer in capital letters.",
        "tools": [TOOL],
        "messages": [user([text("Where is "), text("parcel 7?")])],
    }
    said = [{"type": "thinking", "thinking": "Find it.", "signature": "x"}, text("LOOK."), USE]
    record = read_chat({"request": request, "response": message(said, "tool_use")})
    assert isinstance(record.ask, Ask)
    assert record.ask.messages == (
        {"role": "system", "content": "Answer in capital letters."},
        user("Where is parcel 7?"),
    )
    function = {"name": "find", "description": "Where it is", "parameters": SCHEMA}
    assert json.loads(record.ask.tools or "") == [{"type": "function", "function": function}]
    assert record.ask.sampling == {**NOTHING, "temperature": 0.5, "max_tokens": 64}
    found = answer(record)
    assert (found.response, found.reasoning) == ("LOOK.", "Find it.")
    assert json.loads(found.tool_calls or "") == [{"id": "t1", **CALL}]
    assert record.facts.usage == {"prompt_tokens": 37, "completion_tokens": 4}
    assert (record.facts.model, record.facts.returned_model) == ("big", "big-2026")


def test_results_of_tools_are_messages_of_their_own_between_the_turns() -> None:
    messages = [
        user("Where is parcel 7?"),
        {"role": "assistant", "content": [text("Let me look."), USE]},
        user(
            [
                {"type": "tool_result", "tool_use_id": "t1", "content": [text("in Rome ")]},
                text("And 8?"),
            ]
        ),
    ]
    ask = asked({"request": {"messages": messages}, "response": message([text("Hm.")])})
    assert ask.messages == (
        user("Where is parcel 7?"),
        {"role": "assistant", "content": "Let me look.", "tool_calls": [{"id": "t1", **CALL}]},
        {"role": "tool", "content": "in Rome ", "tool_call_id": "t1"},
        user("And 8?"),
    )


@pytest.mark.parametrize(
    "row",
    [
        {"request": {"system": "S", "messages": [user("a")]}, "response": message([text("b")])},
        {"system": [text("S")], "messages": [user("a")], "response": message([text("b")])},
        {"system": "S", "messages": [user("a")], **message([text("b")])},
        {
            "request": json.dumps({"system": "S", "messages": [user("a")]}),
            "response": json.dumps(message([text("b")])),
        },
        {"system": "S", "messages": [user("a"), {"role": "assistant", "content": [text("b")]}]},
    ],
)
def test_the_system_message_stands_first_however_the_row_is_wrapped(row) -> None:
    record = read_chat(row)
    assert isinstance(record.ask, Ask)
    assert record.ask.messages == ({"role": "system", "content": "S"}, user("a"))
    assert answer(record).response == "b"


@pytest.mark.parametrize(
    ("content", "stop", "reason"),
    [
        ([text("Half")], "refusal", Reason.FILTERED),
        ([text("Half")], None, Reason.END_BLANK),
        ([text("Half")], "odd", Reason.END_UNKNOWN),
        ([text("Let me look.")], "tool_use", Reason.CALL_NOT_STORED),
        ([], "end_turn", Reason.NO_RESPONSE),
        ([{"type": "thinking", "thinking": "Hm."}], "end_turn", Reason.NO_RESPONSE),
        ([{"type": "server_tool_use", "name": "web_search"}], "end_turn", Reason.TOOL_KIND),
        ([{"type": "tool_use", "name": "f", "input": "x"}], "tool_use", Reason.CALL_ARGUMENTS),
        ([{"type": "image", "source": {}}], "end_turn", Reason.MEDIA),
        ([{"type": "odd"}], "end_turn", Reason.NOT_TEXT),
    ],
)
def test_messages_that_are_no_whole_answer_have_a_reason(content, stop, reason) -> None:
    row = {"request": {"messages": [user("a")]}, "response": message(content, stop)}
    assert read_chat(row).answers == (reason,)


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"messages": [user("a"), {"role": "assistant", "content": "{"}]}, Reason.OPEN_PROMPT),
        ({"messages": [user([{"type": "image", "source": {}}])]}, Reason.MEDIA),
        ({"messages": [user([{"type": "document"}, text("a")])]}, Reason.MEDIA),
        (
            {"messages": [user([{"type": "tool_result", "content": "x"}])]},
            Reason.RESULT_WITHOUT_CALL,
        ),
        ({"messages": [user("a")], "tools": [{"type": "web_search_20250305"}]}, Reason.TOOL_KIND),
        (
            {"system": "S", "messages": [{"role": "system", "content": "T"}, user("a")]},
            Reason.SYSTEM_TWICE,
        ),
    ],
)
def test_requests_that_cannot_be_learnt_from_have_a_reason(request_, reason) -> None:
    assert read_chat({"request": request_, "response": message([text("b")])}).ask is reason


def test_an_error_in_place_of_a_message_and_a_cut_one() -> None:
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "private"}}
    row = {"request": {"messages": [user("a")]}, "response": error}
    assert read_chat(row).answers == (Reason.ERROR,)
    row["response"] = message([text("Half")], "max_tokens")
    assert answer(read_chat(row)).finish_reason == "max_tokens"


def saved(path: Path, *rows: dict) -> str:
    """Write rows as Parquet with a column for every key that one of them has."""
    keys = sorted({key for row in rows for key in row})
    pq.write_table(pa.table({key: [row.get(key) for row in rows] for key in keys}), path)
    return str(path)


def test_nulls_that_a_typed_column_adds_are_no_values(tmp_path: Path, take) -> None:
    words = ("aa", "bb", "cc", "dd")
    rows = [
        {"request": {"messages": [user([text(f"{w} {w}x {w}y")])]}, "response": message([text(w)])}
        for w in words
    ]
    shown = {"type": "image", "source": {"data": "x"}}
    rows.append({"request": {"messages": [user([shown])]}, "response": message([text("ee")])})
    rows.append({"messages": [user([text("ff ffx ffy")])], "response": message([text("ff")])})
    found = take(saved(tmp_path / "log.parquet", *rows))
    assert {row.response for row in found.exchanges} == {*words, "ff"}
    assert found.report.left_out == {str(Reason.MEDIA): 1}


def test_calls_in_struct_columns_are_left_out_where_nulls_may_be_filled_in(tmp_path, take) -> None:
    uses = [{**USE, "input": {key: 1}} for key in ("number", "city")]
    rows = [
        {"request": {"messages": [user(f"{w} {w}x {w}y")]}, "response": message([text(w)])}
        for w in ("aa", "bb", "cc")
    ]
    rows.append({"request": {"messages": [user("x")]}, "response": message(uses, "tool_use")})
    found = take(saved(tmp_path / "calls.parquet", *rows))
    assert len(found.exchanges) == 3
    assert found.report.left_out == {str(Reason.FILLED_IN): 1}


# OpenAI's Responses


def response(output: list[dict], status: str = "completed", **more: Any) -> dict:
    """Return a response that OpenAI's own package reads."""
    found = {
        "id": "resp_1",
        "object": "response",
        "created_at": 1_760_000_000.0,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "metadata": {},
        "model": "big-2026",
        "output": output,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "tool_choice": "auto",
        "tools": [],
        "top_p": 1.0,
        "previous_response_id": None,
        "usage": {
            "input_tokens": 9,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": 4,
            "output_tokens_details": {"reasoning_tokens": 2},
            "total_tokens": 13,
        },
        **more,
    }
    Response.model_validate(found)
    return found


def says(words: str, **more: Any) -> dict:
    part = {"type": "output_text", "text": words, "annotations": []}
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
        **more,
    }


def thinks(words: str | None = None) -> dict:
    summary = [{"type": "summary_text", "text": "A summary."}]
    content = None if words is None else [{"type": "reasoning_text", "text": words}]
    return {"id": "rs_1", "type": "reasoning", "summary": summary, "content": content}


FIND = {
    "id": "fc_1",
    "type": "function_call",
    "call_id": "c1",
    "name": "find",
    "arguments": '{"number": 7}',
}


def test_items_are_one_answer_with_its_reasoning_and_its_calls() -> None:
    request = {
        "model": "big",
        "instructions": "Be brief. ",
        "input": "Where is parcel 7?",
        "max_output_tokens": 64,
        "tools": [{"type": "function", "name": "find", "parameters": SCHEMA, "strict": True}],
    }
    output = [thinks("Find it."), says("Let me look."), FIND]
    record = read_chat({"request": request, "response": response(output)})
    assert isinstance(record.ask, Ask)
    assert record.ask.messages == (
        {"role": "system", "content": "Be brief. "},
        user("Where is parcel 7?"),
    )
    assert json.loads(record.ask.tools or "")[0]["function"]["name"] == "find"
    assert record.ask.sampling["max_tokens"] == 64
    found = answer(record)
    assert (found.response, found.reasoning) == ("Let me look.", "Find it.")
    assert json.loads(found.tool_calls or "") == [{"id": "c1", **CALL}]
    assert record.facts.usage == {
        "prompt_tokens": 9,
        "completion_tokens": 4,
        "total_tokens": 13,
        "reasoning_tokens": 2,
    }
    assert record.facts.created_at == "2025-10-09T08:53:20.000+00:00"


def test_items_that_were_asked_are_turns_and_results() -> None:
    items = [
        {"role": "developer", "content": "Be brief."},
        user([{"type": "input_text", "text": "Where is parcel 7?"}]),
        thinks(),
        FIND,
        {"type": "function_call_output", "call_id": "c1", "output": "in Rome"},
        says("In Rome."),
        {"type": "message", **user("And 8?")},
    ]
    row = {"request": {"input": items}, "response": response([says("In Bonn.")])}
    assert asked(row).messages == (
        {"role": "system", "content": "Be brief."},
        user("Where is parcel 7?"),
        {"role": "assistant", "content": "", "tool_calls": [{"id": "c1", **CALL}]},
        {"role": "tool", "content": "in Rome", "tool_call_id": "c1"},
        {"role": "assistant", "content": "In Rome."},
        user("And 8?"),
    )


@pytest.mark.parametrize(
    "row",
    [
        {"request": {"input": "a"}, "response": response([says("b")])},
        {"request": {"body": {"input": "a"}}, "response": {"body": response([says("b")])}},
        {"input": "a", **response([thinks(), says("b")])},
        {"input": [user("a")], "output": [says("b")], "status": "completed"},
        {"input": [user("a")], "response": response([says("b")])},
    ],
)
def test_responses_come_in_several_wrappings(row) -> None:
    record = read_chat(row)
    assert isinstance(record.ask, Ask)
    assert record.ask.messages == (user("a"),)
    assert answer(record) == LoggedAnswer("b", finish_reason="completed")


CUT = {"incomplete_details": {"reason": "max_output_tokens"}}
STOPPED = {"incomplete_details": {"reason": "content_filter"}}
SEARCH = {
    "type": "web_search_call",
    "id": "w",
    "status": "completed",
    "action": {"type": "search", "query": "x"},
}
REFUSAL = {"type": "refusal", "refusal": "I cannot."}


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (response([says("Half")], "incomplete", **STOPPED), Reason.FILTERED),
        (response([says("Half")], "failed"), Reason.ERROR),
        (response([says("Half")], "cancelled"), Reason.ERROR),
        (response([], "in_progress"), Reason.ERROR),
        (response([says("", content=[REFUSAL])]), Reason.REFUSED),
        (response([thinks("Hm.")]), Reason.NO_RESPONSE),
        (response([SEARCH, says("b")]), Reason.TOOL_KIND),
        ({"object": "response", "output": [says("b")]}, Reason.END_BLANK),
        ({"object": "response", "output": ["b"], "status": "completed"}, Reason.NOT_TEXT),
    ],
)
def test_responses_that_are_no_whole_answer_have_a_reason(given, reason) -> None:
    assert read_chat({"request": {"input": "a"}, "response": given}).answers == (reason,)


def test_a_response_that_was_cut_at_its_length_stays_cut() -> None:
    given = response([says("Half")], "incomplete", **CUT)
    found = answer(read_chat({"request": {"input": "a"}, "response": given}))
    assert found.finish_reason == "max_output_tokens"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        ({"input": "a", "previous_response_id": "resp_0"}, Reason.NOT_STORED),
        ({"input": "a", "conversation": {"id": "conv_1"}}, Reason.NOT_STORED),
        ({"input": "a", "prompt": {"id": "pmpt_1"}}, Reason.NOT_STORED),
        ({"input": [{"type": "item_reference", "id": "x"}, user("a")]}, Reason.NOT_STORED),
        ({"input": [user([{"type": "input_image", "image_url": "x"}])]}, Reason.MEDIA),
        ({"input": [{"type": "computer_call"}, user("a")]}, Reason.TOOL_KIND),
        ({"input": [says("b")]}, Reason.OPEN_PROMPT),
        ({"input": []}, Reason.NO_PROMPT),
        ({"input": " "}, Reason.NO_PROMPT),
    ],
)
def test_inputs_that_do_not_say_what_was_asked_have_a_reason(request_, reason) -> None:
    assert read_chat({"request": request_, "response": response([says("b")])}).ask is reason


@pytest.mark.parametrize(
    ("call_type", "request_", "given"),
    [
        ("aresponses", {"model": "m", "input": "a"}, response([says("b")])),
        ("anthropic_messages", {"messages": [user("a")], "system": ""}, message([text("b")])),
        ("responses", {"input": [user("a")], "temperature": 1}, response([says("b")])),
    ],
)
def test_litellm_keeps_both_interfaces(call_type, request_, given) -> None:
    row = {"call_type": call_type, "proxy_server_request": request_, "response": given}
    record = read_litellm(row)
    assert isinstance(record.ask, Ask)
    assert record.ask.messages == (user("a"),)
    assert answer(record).response == "b"


@pytest.mark.parametrize("own", ["a", [user("a")], json.dumps([user("a")])])
@pytest.mark.parametrize("place", ["proxy_server_request", "model_parameters"])
def test_litellm_keeps_the_instructions_beside_stored_messages(own, place) -> None:
    row = {"call_type": "aresponses", "messages": own, "response": response([says("b")])}
    record = read_litellm({**row, place: {"model": "m", "instructions": "Be brief."}})
    assert isinstance(record.ask, Ask)
    assert record.ask.messages == ({"role": "system", "content": "Be brief."}, user("a"))
