"""Given text: what a server is asked, and what of its answer is one."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.endpoint.scoring import ScoredText, parse_scores, scoring_body
from potstill.endpoint.wire import UnreadableAnswer

IDS = (5, 7, 9)
NAMES = st.sampled_from(["7", "9", "x", "logprob", "decoded_token", "prompt_logprobs", "usage"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=25,
)
ROWS = [
    None,
    {"7": {"logprob": -0.5, "rank": 1, "decoded_token": " b"}, "3": {"logprob": -2.0}},
    # The given token is told although it is not among the two likeliest.
    {"1": {"logprob": -0.1}, "2": {"logprob": -3.0}, "9": {"logprob": -9999.0, "rank": 812}},
]


def parsed(rows: Any, **fields: Any) -> ScoredText:
    choice = {"index": 0, "text": "x", "prompt_logprobs": rows}
    return parse_scores(json.dumps({"choices": [choice], **fields}).encode(), IDS)


def test_ids_are_sent_and_nothing_is_truncated() -> None:
    plain = {
        "model": "m",
        "prompt": [5, 7, 9],
        "max_tokens": 1,
        "temperature": 1.0,
        "top_p": 1.0,
        "prompt_logprobs": 2,
    }
    assert scoring_body(IDS, "m", 2) == plain
    # A hosted service refuses fields that it does not know.
    assert scoring_body(IDS, "m", 2, spell_out=True) == plain | {"top_k": -1, "min_p": 0.0}


def test_what_is_asked_of_a_chat_alone_is_not_sent() -> None:
    extra = {"priority": 3, "logprobs": True, "max_tokens": 900, "tools": [], "min_p": None}
    body = scoring_body(IDS, "m", 2, spell_out=True, extra=extra)
    assert body["priority"] == 3 and body["max_tokens"] == 1
    assert not {"logprobs", "tools", "min_p"} & set(body)


def test_every_id_but_the_first_has_its_likeliest_tokens() -> None:
    told = parsed(ROWS, model="m", usage={"prompt_tokens": 3, "completion_tokens": 1})
    assert told.scores is not None and [s.token_id for s in told.scores] == [7, 9]
    assert told.scores[0].text == " b"
    assert told.scores[0].top == ((7, " b", -0.5), (3, "", -2.0))
    assert {i for i, _, _ in told.scores[1].top} == {1, 2, 9}
    assert told.model == "m" and told.usage["prompt_tokens"] == 3


@pytest.mark.parametrize(
    "rows",
    [
        None,
        "none",
        ROWS[:2],
        [*ROWS, ROWS[1]],
        [None, ROWS[1], None],
        [None, ROWS[1], {"1": {"logprob": -0.1}}],  # the given token is not told
        [None, ROWS[1], {"9": {"logprob": "low"}}],
        [None, ROWS[1], {"9": -0.3}],
        [None, ROWS[1], {"nine": {"logprob": -0.3}, "9": {"logprob": -1.0}}],
    ],
)
def test_what_is_not_of_the_given_ids_is_none(rows: Any) -> None:
    assert parsed(rows).scores is None


@given(JSON)
def test_no_json_breaks_it(value: Any) -> None:
    told = parsed(value)
    assert told.scores is None or len(told.scores) == 2
    with suppress(UnreadableAnswer):
        parse_scores(json.dumps({"choices": value}).encode(), IDS)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"<html>", "an HTML page"),
        (b'{"choices": [', "no JSON, or JSON cut short"),
        (b'{"choices": []}', "no choices in the response"),
        (b'{"choices": [null]}', "no choices in the response"),
        (b'{"error": {"code": "x"}}', "an error with status 200"),
    ],
)
def test_what_is_no_answer_says_why(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableAnswer) as caught:
        parse_scores(content, IDS)
    assert caught.value.reason == reason
