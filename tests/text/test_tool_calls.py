"""Calls and tools in one form, whichever way they were written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.text.tool_calls import (
    Flaw,
    bare,
    broken,
    calls_in,
    may_be_filled_in,
    message_text,
    results_have_calls,
    spelled,
    tools_in,
)

CALL = {"type": "function", "function": {"name": "find", "arguments": {"q": "x", "a": 1}}}


@pytest.mark.parametrize(
    "written",
    [
        [CALL],
        [{"function": {"name": "find", "arguments": '{"q": "x", "a": 1}'}}],
        [{"name": "find", "arguments": {"q": "x", "a": 1}}],
        {"name": "find", "arguments": '{"q": "x", "a": 1}'},
        json.dumps([CALL]),
        [json.dumps(CALL)],
        ({**CALL, "index": 0, "id": None},),
        [{"type": None, "function": {"name": "find", "arguments": '\n{"q":"x","a":1}'}}],
    ],
)
def test_every_form_becomes_one(written) -> None:
    calls = calls_in(written)
    assert calls == [CALL]
    assert list(calls[0]["function"]["arguments"]) == ["q", "a"], "as it was written"


@pytest.mark.parametrize("none", [None, [], "", "[]", {}, "null", ()])
def test_none_is_none(none) -> None:
    assert calls_in(none) == [] and tools_in(none) == []


@pytest.mark.parametrize("blank", [None, "", " \n", "{}", {}])
def test_blank_arguments_are_none(blank) -> None:
    assert bare(calls_in([{"id": "c", "function": {"name": "now", "arguments": blank}}])) == [
        {"name": "now", "arguments": {}}
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        *('{"q": "x', '{"q": NaN}', "[1]", "7", '"x"', "q=x", '{"a": 1e400}', "{'q': 'x'}", "null"),
        *([1], 7, "[" * 100_000),
    ],
)
def test_arguments_that_are_no_object_are_a_flaw_or_kept_as_text(arguments) -> None:
    call = {"function": {"name": "find", "arguments": arguments}}
    assert calls_in([CALL, call]) is Flaw.ARGUMENTS
    kept = calls_in([call], keep_text=True)
    assert isinstance(kept, list) and broken(kept)
    assert isinstance(kept[0]["function"]["arguments"], str)
    assert calls_in(spelled(kept)) is Flaw.ARGUMENTS, "so that curation drops it"


@pytest.mark.parametrize(
    ("written", "flaw"),
    [
        ([{"type": "custom", "custom": {"name": "f", "input": "x"}}], Flaw.KIND),
        ([{"type": "web_search_call"}], Flaw.KIND),
        ([{"id": "x"}], Flaw.NAME),
        ([{"function": None}], Flaw.NAME),
        ([{"function": {"name": " "}}], Flaw.NAME),
        ([{"function": {"name": 7}}], Flaw.NAME),
        ("find it", Flaw.NAME),
        ([7], Flaw.NAME),
        (7, Flaw.NAME),
        ([{"function": {"name": "f\0"}}], Flaw.TEXT),
        ([{"function": {"name": "f", "arguments": '{"a": "\\ud800"}'}}], Flaw.TEXT),
        ([{"id": "\udfff", "function": {"name": "f"}}], Flaw.TEXT),
    ],
)
def test_what_is_no_call_says_why(written, flaw) -> None:
    assert calls_in(written) is flaw
    assert calls_in(written, keep_text=True) is flaw


FUNCTION = {"name": "find", "description": "d", "parameters": {"type": "object", "properties": {}}}


@pytest.mark.parametrize(
    "written",
    [
        [{"type": "function", "function": FUNCTION}],
        [{"function": FUNCTION}],
        [FUNCTION],
        [{"type": "function", **FUNCTION}],
        json.dumps([FUNCTION]),
        [{"name": "find", "description": "d", "input_schema": FUNCTION["parameters"]}],
        [
            {
                "type": "custom",
                "name": "find",
                "description": "d",
                "input_schema": FUNCTION["parameters"],
                "cache_control": {"type": "ephemeral"},
            }
        ],
    ],
)
def test_every_form_of_a_tool_becomes_one(written) -> None:
    assert tools_in(written) == [{"type": "function", "function": FUNCTION}]


@pytest.mark.parametrize(
    ("written", "flaw"),
    [
        ([{"type": "web_search"}], Flaw.KIND),
        ([{"type": "file_search", "name": "x"}], Flaw.KIND),
        ([{"type": "custom", "name": "x"}], Flaw.KIND),
        ([{"type": "web_search_20250305", "name": "web_search"}], Flaw.KIND),
        ([{"type": "function"}], Flaw.TOOLS),
        ([{"function": {"name": ""}}], Flaw.TOOLS),
        ("a hammer", Flaw.TOOLS),
        ({"name": "f"}, Flaw.TOOLS),
        ([None], Flaw.TOOLS),
        ([{"name": "f", "parameters": {"a": float("nan")}}], Flaw.TOOLS),
        ([{"name": "f", "description": "\ud800"}], Flaw.TEXT),
    ],
)
def test_what_is_no_tool_says_why(written, flaw) -> None:
    assert tools_in(written) is flaw


@pytest.mark.parametrize(
    ("value", "may_be"),
    [
        ([{"name": "f", "arguments": {"a": 1, "b": None}}], True),
        (
            {
                "messages": [
                    {"tool_calls": [{"function": {"name": "f", "arguments": {"a": [None]}}}]}
                ]
            },
            True,
        ),
        ([{"function": {"name": "f", "parameters": {"properties": {"x": None}}}}], True),
        ([{"type": "tool_use", "name": "f", "input": {"a": 1, "b": None}}], True),
        ([{"name": "f", "input_schema": {"properties": {"x": None}}}], True),
        ([{"type": "tool_use", "name": "f", "input": None}], False),
        ({"name": "a row", "input": {"a": None}}, False),
        ([{"name": "f", "arguments": '{"a": null}'}], False),
        ([{"name": "f", "arguments": None, "parameters": None, "id": None}], False),
        ({"parameters": {"temperature": None}, "usage": None}, False),
        ([{"role": "user", "content": None, "tool_calls": None}], False),
    ],
)
def test_nulls_are_told_where_a_table_may_have_filled_them_in(value, may_be) -> None:
    assert may_be_filled_in(value) is may_be


def result(call_id: str | None = None) -> dict:
    return {"role": "tool", "content": "r"} | ({"tool_call_id": call_id} if call_id else {})


def calling(*ids: str | None) -> dict:
    calls = [({"id": i} if i else {}) | CALL for i in ids]
    return {"role": "assistant", "content": "", "tool_calls": calls}


USER = {"role": "user", "content": "u"}


@pytest.mark.parametrize(
    ("messages", "fits"),
    [
        ([USER, calling("a"), result("a")], True),
        ([USER, calling("a", "b"), result("b"), result("a"), USER], True),
        ([USER, calling(None), result("z")], True),
        ([USER, calling("a"), result()], True),
        ([USER, calling("a"), USER], True),
        ([USER, result("a")], False),
        ([USER, calling("a"), result("b")], False),
        ([USER, calling("a"), USER, result("a")], False),
        ([result()], False),
        ([USER, {"role": "assistant", "content": "x"}, result()], False),
    ],
)
def test_results_follow_their_calls(messages, fits) -> None:
    assert results_have_calls(messages) is fits


def test_a_message_says_its_content_and_its_calls() -> None:
    said = message_text({"role": "assistant", "content": "Let me look.", "tool_calls": [CALL]})
    assert said == 'Let me look.\n{"arguments":{"a":1,"q":"x"},"name":"find"}'
    assert message_text({"role": "assistant", "content": None}) == ""


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5)
KEYS = ("type", "function", "name", "arguments", "id")
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.dictionaries(TEXT, JSON, max_size=4))
def test_arguments_come_back_as_they_were_in_order(arguments) -> None:
    written = [{"id": "c", "function": {"name": "f", "arguments": json.dumps(arguments)}}]
    calls = calls_in(written)
    assert isinstance(calls, list)
    again = calls_in(spelled(calls))
    assert again == calls and json.dumps(again) == json.dumps(calls)
    assert list(calls[0]["function"]["arguments"].items()) == list(arguments.items())


@settings(deadline=None)
@given(JSON | st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(KEYS, JSON))))
def test_nothing_crashes(value) -> None:
    for found in (calls_in(value), calls_in(value, keep_text=True), tools_in(value)):
        assert isinstance(found, Flaw | list)
