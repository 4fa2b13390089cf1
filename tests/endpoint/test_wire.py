"""Requests as servers read them, and answers of every kind as what they are."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from potstill.endpoint.wire import (
    Answer,
    ChatRequest,
    UnreadableAnswer,
    error_fields,
    offered_models,
    parse_answer,
    request_body,
    shares,
)
from potstill.models.sampling import Sampling

MESSAGES = ({"role": "user", "content": "Hello"},)


def choice(content: Any = "Hi", finish: Any = "stop", **message: Any) -> dict[str, Any]:
    return {"finish_reason": finish, "message": {"content": content, **message}}


def parsed(*choices: Any, n: int = 9, **fields: Any) -> Answer:
    return parse_answer(json.dumps({"choices": list(choices), **fields}).encode(), n)


def test_a_request_says_what_the_recipe_says() -> None:
    request = ChatRequest(MESSAGES, Sampling(0.7, 0.9, 40, 64), seed=5, n=3)
    assert request_body(request, "m", top_logprobs=4) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hello"}],
        "max_tokens": 64,
        "temperature": 0.7,
        "top_p": 0.9,
        "top_k": 40,
        "seed": 5,
        "n": 3,
        "logprobs": True,
        "top_logprobs": 4,
    }


def test_only_servers_of_ones_own_are_told_what_truncates_nothing() -> None:
    request = ChatRequest(MESSAGES, Sampling(), seed=0)
    hosted = request_body(request, "m")
    own = request_body(request, "m", spell_out=True)
    assert not {"top_k", "min_p", "n", "logprobs"} & hosted.keys()
    assert (own["top_k"], own["min_p"]) == (-1, 0.0)


def test_extra_keys_are_added_and_null_takes_one_out() -> None:
    extra = {"max_tokens": None, "max_completion_tokens": 9, "a": {"b": 1}}
    body = request_body(ChatRequest(MESSAGES, Sampling(), seed=0), "m", extra=extra)
    assert "max_tokens" not in body
    assert (body["max_completion_tokens"], body["a"]) == (9, {"b": 1})


def test_an_answer_is_read_whole() -> None:
    usage = {
        "prompt_tokens": 3,
        "completion_tokens": 4.0,
        "total_tokens": True,
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
    answer = parsed(
        choice("one", reasoning_content="because"),
        choice("two", "length", reasoning="since"),
        choice(None, "tool_calls", tool_calls=[{"id": "x", "function": {"name": "f"}}]),
        usage=usage,
        model="m-1",
        system_fingerprint="fp",
    )
    assert [c.text for c in answer.choices] == ["one", "two", ""]
    assert [c.finish for c in answer.choices] == ["stop", "length", "stop"]
    assert [c.reasoning for c in answer.choices] == ["because", "since", None]
    call = {"id": "x", "type": "function", "function": {"name": "f", "arguments": {}}}
    assert json.loads(answer.choices[2].tool_calls or "") == [call]
    assert answer.usage == {"prompt_tokens": 3, "completion_tokens": 4, "reasoning_tokens": 2}
    assert (answer.model, answer.fingerprint) == ("m-1", "fp")


def test_no_more_choices_than_were_asked_for() -> None:
    assert len(parsed(choice("a"), choice("b"), choice("c"), n=2).choices) == 2


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (choice("a\0b"), "a NUL byte in the response"),
        (choice("fine", reasoning="a\0"), "a NUL byte in the response"),
        (choice("", tool_calls=[{"a": "b"}]), "a tool call that names no function"),
        (choice("", tool_calls=["\0"]), "a tool call that names no function"),
        (
            choice("", tool_calls=[{"function": {"name": "f", "arguments": '{"a": "\\u0000"}'}}]),
            "a NUL byte or a lone surrogate in a tool call",
        ),
        (
            choice("", tool_calls=[{"type": "custom", "custom": {"name": "f", "input": "x"}}]),
            "a kind of tool that is no function",
        ),
        (
            choice("Let me look.", "tool_calls"),
            "a response that ended to call a tool, without the call",
        ),
        (choice("a\ud800b"), "a lone surrogate in the response"),
        (choice("fine", reasoning_content="\udfff"), "a lone surrogate in the response"),
        (choice("x", "content_filter"), "refused, or withheld by the server's content filter"),
        (choice("x", "SAFETY"), "refused, or withheld by the server's content filter"),
        (choice(None, refusal="I cannot."), "refused, or withheld by the server's content filter"),
        (choice("x", None), "no finish reason"),
        (choice("x", "abort"), "the server gave the response up"),
        (choice("x", "error"), "the server gave the response up"),
        (choice("x", "insufficient_system_resource"), "the server gave the response up"),
        (choice("x", "unheard-of"), "no known finish reason"),
        (choice("x", 3), "no known finish reason"),
        (choice("half") | {"error": {"code": 502}}, "an error in place of the response"),
        (choice("half", "length") | {"error": "gone"}, "an error in place of the response"),
        (choice(""), "white space alone, no answer"),
        (choice(" \n\t"), "white space alone, no answer"),
        (choice("\u200b\u3000", "length"), "white space alone, no answer"),
        (choice(None), "white space alone, no answer"),
        (choice([{"type": "text"}]), "a response that is no text"),
        ({"finish_reason": "stop"}, "no message in the response"),
        ("text", "no message in the response"),
    ],
)
def test_what_cannot_be_used_says_why_and_leaves_the_others(raw: Any, reason: str) -> None:
    answer = parsed(choice("good"), raw)
    assert [c.text for c in answer.choices] == ["good"]
    assert answer.unusable == (reason,)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"error": {"message": "busy"}}', "an error with status 200"),
        (b'{"error": "busy", "choices": []}', "an error with status 200"),
        (b"  <!DOCTYPE html><html></html>", "an HTML page"),
        (b"<html>", "an HTML page"),
        (b'{"choices": [{"mess', "no JSON, or JSON cut short"),
        (b"", "no JSON, or JSON cut short"),
        (b"\xff\xfe{}", "no JSON, or JSON cut short"),
        (b'{"choices": ' + b"[" * 100_000, "no JSON, or JSON cut short"),
        (b'{"n": ' + b"9" * 5_000 + b"}", "no JSON, or JSON cut short"),
        (b"[]", "no choices in the response"),
        (b"null", "no choices in the response"),
        (b"{}", "no choices in the response"),
        (b'{"choices": []}', "no choices in the response"),
        (b'{"choices": {"0": 1}}', "no choices in the response"),
    ],
)
def test_what_is_no_answer_says_so(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableAnswer) as caught:
        parse_answer(content, 1)
    assert caught.value.reason == reason


NAMES = st.sampled_from(
    [
        *("choices", "message", "content", "finish_reason", "usage", "model", "logprobs", "id"),
        *("token", "logprob", "top_logprobs", "prompt_tokens", "system_fingerprint", "tool_calls"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=25,
)


@given(JSON)
@example([{"finish_reason": [], "message": {}}])
def test_no_json_breaks_it(value: Any) -> None:
    content = json.dumps({"choices": value} if isinstance(value, list) else value).encode()
    try:
        answer = parse_answer(content, 3)
    except UnreadableAnswer:
        return
    for one in answer.choices:
        one.text.encode()
    assert all(isinstance(count, int) and count >= 0 for count in answer.usage.values())


def test_log_probabilities_are_named_by_id_or_by_text() -> None:
    top = [{"token": "A", "logprob": -0.1, "id": 7}, {"token": "token_id:9", "logprob": -2}]
    rows = [{"token": "A", "logprob": -0.1, "id": 7, "top_logprobs": top}]
    scores = parsed(choice() | {"logprobs": {"content": rows}}).choices[0].scores
    assert scores is not None
    assert scores[0].token_id == 7
    assert scores[0].top == ((7, "A", -0.1), (9, "token_id:9", -2.0))
    assert scores[0].logp == -0.1


def test_figures_are_kept_as_they_are_told_for_who_judges_them() -> None:
    top = [{"token": "A", "logprob": math.nan}, {"token": "B", "logprob": 10**400}]
    rows = [{"token": "token_id:" + "9" * 5_000, "logprob": -math.inf, "top_logprobs": top}]
    scores = parsed(choice() | {"logprobs": {"content": rows}}).choices[0].scores
    assert scores is not None and scores[0].token_id == -1 and scores[0].logp == -math.inf
    assert all(math.isnan(logp) for _, _, logp in scores[0].top)


@pytest.mark.parametrize("raw", [None, {}, {"content": None}, {"content": [{"token": "a"}]}, 3])
def test_missing_log_probabilities_are_none(raw: Any) -> None:
    assert parsed(choice() | {"logprobs": raw}).choices[0].scores is None


def test_a_list_of_models_is_read_with_aliases() -> None:
    listed = {"data": [{"id": "a", "aliases": ["b"]}, {"id": "a"}, {"id": 3}, "x"]}
    assert offered_models(json.dumps(listed).encode()) == ["a", "b", "x"]
    assert offered_models(b'{"data": []}') == []
    assert offered_models(b'[{"id": "a"}, {"id": "b"}]') == ["a", "b"]
    assert offered_models(b'{"data": ["a", "b"]}') == ["a", "b"]
    assert offered_models(b"<html>") is None
    assert offered_models(b'{"status": "ok"}') is None
    for odd in ({"data": [{"name": "a"}]}, {"data": {"id": "a"}}, [[]], [{"id": 3}], "a", 3, None):
        assert offered_models(json.dumps(odd).encode()) is None


def test_errors_are_found_in_every_spelling() -> None:
    assert error_fields(b'{"error": {"code": 5}}') == {"code": 5}
    assert error_fields(b'{"error": "no"}') == {"message": "no"}
    assert error_fields(b'{"object": "error", "message": "no"}')["message"] == "no"
    assert error_fields(b"<html>") == {}


@given(st.integers(0, 10_000), st.lists(st.integers(0, 500), min_size=1, max_size=9))
def test_shares_add_up(total: int, weights: list[int]) -> None:
    parts = shares(total, weights)
    assert len(parts) == len(weights)
    assert sum(parts) == total
    assert min(parts) >= 0
    if sum(weights):
        exact = [total * weight / sum(weights) for weight in weights]
        assert all(abs(a - b) <= 1 for a, b in zip(parts, exact, strict=True))
