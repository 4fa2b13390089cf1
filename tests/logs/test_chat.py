"""OpenAI-style chat logs: fine-tuning examples, request and response, stored completions."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from potstill.logs.call import Ask, LoggedAnswer, Reason
from potstill.logs.readers import read_chat

NOTHING = {"temperature": None, "top_p": None, "top_k": None, "max_tokens": None, "seed": None}


def user(text: str) -> dict:
    return {"role": "user", "content": text}


def assistant(text, **more) -> dict:
    return {"role": "assistant", "content": text, **more}


def choice(message: dict, finish: str | None = "stop") -> dict:
    return {"index": 0, "message": message, "finish_reason": finish}


def only(row: dict) -> LoggedAnswer | Reason:
    (answer,) = read_chat(row).answers
    return answer


def test_the_last_assistant_turn_is_the_response() -> None:
    system = {"role": "developer", "content": "Be brief. "}
    chat = [system, user("Hello"), assistant("Hi."), user("How are you?"), assistant(" Well. ")]
    record = read_chat({"messages": chat})
    asked = ({"role": "system", "content": "Be brief. "}, *chat[1:4])
    assert record.ask == Ask(asked, NOTHING)
    assert record.answers == (LoggedAnswer(" Well. "),)


def test_request_and_response_keep_what_the_log_says() -> None:
    request = {
        "model": "big",
        "messages": [user([{"type": "text", "text": "one "}, {"type": "text", "text": "two"}])],
        "temperature": 1,
        "top_p": 0.5,
        "max_completion_tokens": 64,
        "seed": 3,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "headers": {"Authorization": "Bearer sk-secret"},
    }
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    message = assistant("Yes.", reasoning_content="So.", tool_calls=[call])
    response = {
        "model": "big-2026",
        "created": 1_760_000_000,
        "system_fingerprint": "fp_1",
        "choices": [choice(message, "tool_calls")],
        "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7},
    }
    record = read_chat({"request": request, "response": response})
    sampling = {"temperature": 1.0, "top_p": 0.5, "top_k": None, "max_tokens": 64, "seed": 3}
    tools = '[{"type":"function","function":{"name":"f"}}]'
    assert record.ask == Ask((user("one two"),), sampling, tools)
    (answer,) = record.answers
    assert isinstance(answer, LoggedAnswer)
    assert (answer.response, answer.reasoning, answer.finish_reason) == (
        "Yes.",
        "So.",
        "tool_calls",
    )
    parsed = {**call, "function": {"name": "f", "arguments": {}}}
    assert json.loads(answer.tool_calls or "") == [parsed]
    facts = record.facts
    assert (facts.model, facts.returned_model, facts.system_fingerprint) == (
        "big",
        "big-2026",
        "fp_1",
    )
    assert facts.usage == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert facts.created_at == "2025-10-09T08:53:20.000+00:00"
    assert "secret" not in repr(record)


def test_stored_completions_have_their_messages_beside_the_choices() -> None:
    row = {
        "object": "chat.completion",
        "model": "big",
        "temperature": 0.2,
        "messages": [user("Hello")],
        "choices": [choice(assistant("Hi.")), choice(assistant("Hey."), "length")],
        "usage": {"completion_tokens": 4},
    }
    record = read_chat(row)
    assert record.answers == (
        LoggedAnswer("Hi.", finish_reason="stop"),
        LoggedAnswer("Hey.", finish_reason="length"),
    )
    assert isinstance(record.ask, Ask)
    assert record.ask.sampling["temperature"] == 0.2
    assert not record.facts.usage, "it is of both answers together"


@pytest.mark.parametrize(
    "response",
    [
        "Hi.",
        assistant("Hi."),
        {"body": {"choices": [choice(assistant("Hi."))]}},
        json.dumps({"choices": [choice(assistant("Hi."))]}),
    ],
)
def test_responses_come_in_several_wrappings(response) -> None:
    record = read_chat({"request": {"messages": [user("Hello")]}, "response": response})
    assert [a.response for a in record.answers if isinstance(a, LoggedAnswer)] == ["Hi."]


def test_messages_beside_a_response_are_its_request() -> None:
    for response in ("Hi.", {"choices": [choice(assistant("Hi."))]}):
        record = read_chat({"messages": [user("Hello")], "response": response})
        assert isinstance(record.ask, Ask)
        assert [a.response for a in record.answers if isinstance(a, LoggedAnswer)] == ["Hi."]


def test_numbers_beyond_all_bounds_do_not_reach_the_store(write, take) -> None:
    good = [{"messages": [user(f"{w} {w}x {w}y"), assistant("b")]} for w in ("aa", "bb", "cc")]
    raw = (
        '{"request": {"temperature": 1e400, "seed": 1e300, "messages": [{"role": "user", '
        '"content": "dd"}]}, "response": {"choices": [{"message": {"content": "big"}, '
        '"finish_reason": "stop"}], '
        '"created": 1e400, "usage": {"prompt_tokens": 1e400, "total_tokens": -1}}}'
    )
    calls = take(write("log.jsonl", *good, raw))
    row = next(e for e in calls.exchanges if e.response == "big")
    assert row.sampling == NOTHING
    assert (row.usage, row.created_at) == ({}, "")


def test_a_leading_thought_is_kept_apart() -> None:
    answer = only({"messages": [user("a"), assistant("<think>\nHm.\n</think>\n\nYes.")]})
    assert answer == LoggedAnswer("Yes.", reasoning="Hm.")
    assert only({"messages": [user("a"), assistant("<think>Hm. I")]}) is Reason.NO_RESPONSE


@pytest.mark.parametrize(
    ("message", "finish", "reason"),
    [
        (assistant(""), "stop", Reason.NO_RESPONSE),
        (assistant(None), "stop", Reason.NO_RESPONSE),
        (assistant(" \n"), "stop", Reason.NO_RESPONSE),
        (assistant(None, tool_calls=[{"id": "x"}]), "tool_calls", Reason.CALL_NAME),
        (assistant(None, refusal="I cannot."), "stop", Reason.REFUSED),
        (assistant("Half a"), "content_filter", Reason.FILTERED),
        (assistant("a\ud800b"), "stop", Reason.NOT_TEXT),
        (assistant("a\0b"), "stop", Reason.NOT_TEXT),
        (assistant("a", reasoning="\udfff"), "stop", Reason.NOT_TEXT),
        (assistant([{"type": "image_url", "image_url": {}}]), "stop", Reason.MEDIA),
        (assistant(7), "stop", Reason.NOT_TEXT),
        (assistant("redacted-by-litellm"), "stop", Reason.REDACTED),
        (assistant("One ... (litellm_truncated skipped 9 chars) ... ten"), "stop", Reason.CUT),
    ],
)
def test_answers_that_cannot_be_used_have_a_reason(message, finish, reason) -> None:
    row = {"request": {"messages": [user("a")]}, "response": {"choices": [choice(message, finish)]}}
    assert only(row) is reason


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], Reason.NO_PROMPT),
        ([user(" ")], Reason.NO_PROMPT),
        ([{"role": "narrator", "content": "a"}], Reason.NO_PROMPT),
        (["a"], Reason.NO_PROMPT),
        ([{"role": ["user"], "content": "a"}], Reason.NO_PROMPT),
        ([user("a"), {"role": "system", "content": "b"}], Reason.OPEN_PROMPT),
        ([user("a"), {"role": "tool", "content": "b"}, user("c")], Reason.RESULT_WITHOUT_CALL),
        ([assistant(None, tool_calls=[{"id": "x"}]), user("c")], Reason.CALL_NAME),
        ([user("a\ud800")], Reason.NOT_TEXT),
        ([user("a\0")], Reason.NOT_TEXT),
        ([user([{"type": "input_audio"}])], Reason.MEDIA),
        ([user("redacted-by-litellm")], Reason.REDACTED),
    ],
)
def test_prompts_that_cannot_be_used_have_a_reason(messages, reason) -> None:
    assert read_chat({"messages": [*messages, assistant("b")]}).ask is reason


def test_tools_that_are_no_text_are_not_dropped_in_silence() -> None:
    row = {"request": {"messages": [user("a")], "tools": ["\ud800"]}, "response": "b"}
    assert read_chat(row).ask is Reason.NOT_TEXT


def test_unanswered_unweighted_failed_and_other_rows() -> None:
    assert only({"messages": [user("a")]}) is Reason.NO_RESPONSE
    assert only({"messages": [user("a"), assistant("b", weight=0)]}) is Reason.WEIGHT_ZERO
    failed = {"request": {"messages": [user("a")]}, "response": {"error": {"message": "x"}}}
    assert only(failed) is Reason.ERROR
    assert read_chat({"event": "start"}).ask is Reason.NO_CALL


def test_a_written_chat_file_comes_back(tmp_path: Path, take) -> None:
    pairs = {f"What is {a}{b}?": f"It is {b}{a}." for a in "kmprst" for b in "aeiou"}
    lines = [json.dumps({"messages": [user(p), assistant(r)]}) for p, r in pairs.items()]
    path = tmp_path / "log.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    calls = take(str(path), counts=(5, 4))
    assert {e.messages[-1]["content"]: e.response for e in calls.exchanges} == pairs
    assert sum(e.split == "held_out" for e in calls.exchanges) == 5
    assert sum(e.split == "validation" for e in calls.exchanges) == 4
    assert {e.source for e in calls.exchanges} == {"calls:log.jsonl.gz"}
    assert not calls.unanswered
    assert not calls.report.left_out
