"""OpenAI batches: input and output, joined on custom_id."""

from __future__ import annotations

from typing import Any

import pytest

from potstill.errors import PotstillError
from potstill.logs.call import Reason


def asked(key: str, prompt: str | None = None, **body: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt or f"{key} {key}x {key}y"}]
    return {
        "custom_id": key,
        "method": "POST",
        "url": "/v1/chat/completions",
        "body": {"model": "big", "messages": messages, "max_tokens": 9, **body},
    }


def answered(key: str, *texts: str, status: int = 200, error: Any = None, **body: Any) -> dict:
    choices = [
        {"index": i, "message": {"role": "assistant", "content": t}, "finish_reason": "stop"}
        for i, t in enumerate(texts)
    ]
    body = {"model": "big-1", "created": 1_760_000_000, "choices": choices, **body}
    return {
        "id": f"batch_req_{key}",
        "custom_id": key,
        "response": {"status_code": status, "request_id": "r", "body": body},
        "error": error,
    }


KEYS = ("aa", "bb", "cc", "dd")


def test_input_and_output_are_joined_in_any_order(write, take) -> None:
    requests = write("in.jsonl", *(asked(key) for key in KEYS))
    output = write("out.jsonl", *(answered(key, f"To {key}.") for key in reversed(KEYS)))
    for paths in ((requests, output), (output, requests)):
        calls = take(*paths)
        pairs = {e.messages[-1]["content"][:2]: e.response for e in calls.exchanges}
        assert pairs == {key: f"To {key}." for key in KEYS}
        assert calls.report.form == "batch"
        assert {e.sampling["max_tokens"] for e in calls.exchanges} == {9}
        assert {e.returned_model for e in calls.exchanges} == {"big-1"}
        assert {e.source for e in calls.exchanges} == {"calls:out.jsonl"}
        assert {e.teacher.partition("@")[0] for e in calls.exchanges} == {"calls/big"}


def test_what_failed_or_is_missing_is_counted_with_its_place(write, take) -> None:
    requests = write("in.jsonl", *(asked(key) for key in (*KEYS, "ee", "ff", "gg", "hh")))
    output = write(
        "out.jsonl",
        *(answered(key, "Yes.") for key in KEYS),
        answered("ee", status=400),
        {"custom_id": "ff", "response": None, "error": {"code": "batch_expired"}},
        answered("gg", error={"code": "x"}),
        answered("stray", "Who asked?"),
        "garbage",
        {"custom_id": 5, "response": {}},
    )
    report = take(requests, output).report
    assert report.left_out == {
        "error": 3,
        "a response without its request": 1,
        "no chat call in this form": 1,
        "no response": 1,
        "unreadable": 1,
    }
    assert report.places["no response"] == ("in.jsonl, line 8",)
    assert report.places["unreadable"] == ("out.jsonl, line 9",)
    assert report.rows == 4 + 3 + 1 + 1 + 1 + 1
    assert any(note.startswith("3 left out: error (out.jsonl, line 5; ") for note in report.notes())


def test_a_custom_id_that_two_requests_share_says_nothing(write, take) -> None:
    requests = write("in.jsonl", *(asked(key) for key in KEYS), asked("one"), asked("one", "other"))
    again = write("again.jsonl", asked("aa"))
    output = write("out.jsonl", *(answered(key, "Yes.") for key in (*KEYS, "one")))
    calls = take(requests, again, output)
    assert calls.report.left_out == {"a custom_id that several requests share": 1}
    assert len(calls.exchanges) == 4, "the same request twice is one request"


def test_an_output_without_its_input_is_refused_and_the_other_way_round(write, take) -> None:
    requests = write("in.jsonl", *(asked(key) for key in KEYS))
    output = write("out.jsonl", *(answered(key, "Yes.") for key in KEYS))
    with pytest.raises(PotstillError, match=r"batch out\.jsonl has answers but not what was asked"):
        take(output)
    with pytest.raises(PotstillError, match=r"batch in\.jsonl has requests but no answers"):
        take(requests)
    assert len(take(requests, use="prompts").plan.prompts) == 4


# Anthropic's Message Batches


def params(key: str, **more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": f"{key} {key}x {key}y"}]
    body = {"model": "big", "max_tokens": 9, "system": "S", "messages": messages, **more}
    return {"custom_id": key, "params": body}


def result(key: str, kind: str = "succeeded", stop: str = "end_turn") -> dict[str, Any]:
    message = {
        "type": "message",
        "role": "assistant",
        "model": "big-1",
        "content": [{"type": "text", "text": f"To {key}."}],
        "stop_reason": stop,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    found: dict[str, Any] = {"type": kind}
    if kind == "succeeded":
        found["message"] = message
    if kind == "errored":
        found["error"] = {"type": "error", "error": {"type": "invalid_request_error"}}
    return {"custom_id": key, "result": found}


def test_message_batches_are_joined_with_their_results(write, take) -> None:
    requests = write("in.jsonl", *(params(key) for key in (*KEYS, "ee", "ff", "gg", "hh")))
    failed = [result("ee", "errored"), result("ff", "canceled"), result("gg", "expired")]
    results = write("out.jsonl", *map(result, KEYS), *failed, result("hh", stop="refusal"))
    calls = take(results, requests)
    assert {e.response for e in calls.exchanges} == {f"To {key}." for key in KEYS}
    assert {e.messages[0]["content"] for e in calls.exchanges} == {"S"}
    assert calls.exchanges[0].usage == {"prompt_tokens": 3, "completion_tokens": 2}
    assert calls.report.left_out == {str(Reason.ERROR): 3, str(Reason.FILTERED): 1}
    assert calls.report.form == "batch"
    with pytest.raises(PotstillError, match="has answers but not what was asked"):
        take(results)


def test_batches_of_the_responses_interface_have_their_input(write, take) -> None:
    def asks(key: str) -> dict[str, Any]:
        body = {"model": "big", "input": f"{key} {key}x {key}y", "instructions": "S"}
        return {"custom_id": key, "method": "POST", "url": "/v1/responses", "body": body}

    def answers(key: str, status: str = "completed") -> dict[str, Any]:
        parts = [{"type": "output_text", "text": f"To {key}."}]
        item = {"type": "message", "role": "assistant", "content": parts}
        body = {"object": "response", "status": status, "output": [item]}
        return {"custom_id": key, "response": {"status_code": 200, "body": body}, "error": None}

    requests = write("in.jsonl", *(asks(key) for key in (*KEYS, "ee")))
    calls = take(requests, write("out.jsonl", *map(answers, KEYS), answers("ee", "failed")))
    assert {e.response for e in calls.exchanges} == {f"To {key}." for key in KEYS}
    assert {e.messages[0]["content"] for e in calls.exchanges} == {"S"}
    assert calls.report.left_out == {str(Reason.ERROR): 1}


@pytest.mark.parametrize("url", ["/v1/embeddings", "/v1/moderations", "/v1/images/generations"])
def test_what_a_batch_asks_of_other_addresses_is_no_prompt(write, take, url: str) -> None:
    body = {"model": "e", "input": "private words"}
    other = {"custom_id": "x", "method": "POST", "url": url, "body": body}
    calls = take(write("in.jsonl", *(asked(key) for key in KEYS), other), use="prompts")
    assert len(calls.plan.prompts) == 4
    assert calls.report.left_out == {str(Reason.NO_CALL): 1}
