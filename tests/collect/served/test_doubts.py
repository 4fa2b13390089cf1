"""Answers as long as they may be, and prompts that a server did not read whole."""

from __future__ import annotations

from typing import Any

import pytest

from potstill.collect.served.doubts import ends_at_limit, longest_response, tokens_not_read
from potstill.endpoint.wire import Answer, Choice, ScoredToken
from potstill.models.sampling import Sampling
from potstill.recipe import EndpointConfig

EOS = 2


def answer(*choices: Choice, **usage: int) -> Answer:
    return Answer(choices, (), usage, "m", None)


def scored(*ids: int, finish: Any = "stop") -> Choice:
    return Choice("x", finish, scores=tuple(ScoredToken(i, "x", ()) for i in ids))


@pytest.mark.parametrize(
    ("choice", "usage", "doubtful"),
    [
        (Choice("x", "stop"), {"completion_tokens": 4}, True),
        (Choice("x", "stop"), {"completion_tokens": 5}, True),
        (Choice("x", "stop"), {"completion_tokens": 3}, False),
        (Choice("x", "stop"), {}, False),
        (Choice("x", "length"), {"completion_tokens": 4}, False),
        (scored(7, 7, 7, 7), {}, True),
        (scored(7, 7, 7, EOS), {"completion_tokens": 4}, False),  # it ends itself
        (scored(7, 7, EOS), {"completion_tokens": 9}, False),
        (scored(7, 7, 7, 7, finish="length"), {}, False),
    ],
)
def test_an_end_at_the_limit_is_doubtful(
    choice: Choice, usage: dict[str, int], doubtful: bool
) -> None:
    assert ends_at_limit(answer(choice, **usage), choice, 4, (EOS,)) == doubtful
    assert not ends_at_limit(answer(choice, **usage), choice, None, (EOS,))


def test_the_usage_of_several_answers_tells_nothing_of_one() -> None:
    pair = answer(Choice("a", "stop"), Choice("b", "stop"), completion_tokens=8)
    assert not any(ends_at_limit(pair, choice, 4) for choice in pair.choices)


@pytest.mark.parametrize(
    ("extra", "limit"),
    [
        ({}, 64),
        ({"max_tokens": 9}, 9),
        ({"max_tokens": None, "max_completion_tokens": 7}, 7),
        ({"max_completion_tokens": 7}, 7),
        ({"max_tokens": None}, None),
    ],
)
def test_the_limit_is_the_requests(extra: dict[str, Any], limit: int | None) -> None:
    config = EndpointConfig(url="http://127.0.0.1:1/v1", provider="p", extra=extra)
    assert longest_response(Sampling(max_tokens=64), config) == limit


@pytest.mark.parametrize(
    ("read", "ids", "missing"),
    [(5, 9, 4), (9, 9, 0), (12, 9, 0), (0, 9, None), (None, 9, None), (5, None, None)],
)
def test_prompts_that_were_not_read_whole(
    read: int | None, ids: int | None, missing: int | None
) -> None:
    told = answer(**({} if read is None else {"prompt_tokens": read}))
    assert tokens_not_read(told, None if ids is None else range(ids)) == missing
