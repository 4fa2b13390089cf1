"""Messages in a request's body: as the format wants them, and else as they are."""

from __future__ import annotations

import json

from potstill.endpoint.turns import body_messages
from potstill.endpoint.wire import ChatRequest, request_body
from potstill.models.sampling import Sampling

ARGUMENTS = {"q": "Zürich", "a": 1}


def call(**more):
    return {**more, "type": "function", "function": {"name": "find", "arguments": ARGUMENTS}}


def asks(*calls):
    return {"role": "assistant", "content": "", "tool_calls": list(calls)}


def test_plain_messages_are_sent_as_they_are() -> None:
    messages = [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]
    assert body_messages(messages) == messages
    body = request_body(ChatRequest(tuple(messages), Sampling(), seed=0), "m")
    assert "tools" not in body


def test_arguments_are_sent_as_text_and_nothing_stored_is_changed() -> None:
    messages = [asks(call(id="c")), {"role": "tool", "content": "r", "tool_call_id": "c"}]
    before = json.dumps(messages)
    sent = body_messages(messages)
    function = {"name": "find", "arguments": '{"q": "Zürich", "a": 1}'}
    assert sent[0]["tool_calls"] == [{"id": "c", "type": "function", "function": function}]
    assert sent[1] == messages[1]
    assert json.dumps(messages) == before


def test_calls_without_ids_are_numbered_and_results_take_them_in_order() -> None:
    results = [{"role": "tool", "content": text} for text in "abc"]
    sent = body_messages([asks(call(), call()), *results[:2], asks(call()), results[2]])
    assert [one["id"] for one in sent[0]["tool_calls"]] == ["call_0", "call_1"]
    assert [sent[1]["tool_call_id"], sent[2]["tool_call_id"]] == ["call_0", "call_1"]
    assert sent[3]["tool_calls"][0]["id"] == sent[4]["tool_call_id"] == "call_2"


def test_results_that_name_their_call_leave_the_others() -> None:
    named = {"role": "tool", "content": "b", "tool_call_id": "y"}
    sent = body_messages(
        [asks(call(id="x"), call(id="y")), named, {"role": "tool", "content": "a"}]
    )
    assert [one["tool_call_id"] for one in sent[1:]] == ["y", "x"]


def test_tools_are_sent_in_the_order_of_their_keys() -> None:
    tools = [{"type": "function", "function": {"name": "f", "description": "d"}}]
    body = request_body(ChatRequest((), Sampling(), seed=0, tools=tools), "m")
    assert json.dumps(body["tools"]) == json.dumps(tools)
