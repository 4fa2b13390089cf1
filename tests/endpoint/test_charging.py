"""What answers are charged with: the server's figures, but where they cannot be all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.endpoint.budget import Tokens
from potstill.endpoint.charging import charge_of, tokens_in
from potstill.endpoint.scoring import ScoredText
from potstill.endpoint.wire import Answer, Choice, ScoredToken, parse_answer

WORST = Tokens(500, 800)
USAGE = {"prompt_tokens": 36, "completion_tokens": 29}


def told(count: int, text: str = " a") -> tuple[ScoredToken, ...]:
    return tuple(ScoredToken(-1, text, ()) for _ in range(count))


def spoken(words: int, finish: Any = "stop") -> Choice:
    return Choice("word " * words, finish)


def answer(
    *choices: Choice, usage: Any = None, one: bool = False, unusable: tuple[str, ...] = ()
) -> Answer:
    return Answer(choices, unusable, USAGE if usage is None else usage, "m", None, one)


LENGTHS = (29, 84, 17, 18)


def test_answers_that_the_server_leaves_out_are_counted() -> None:
    choices = [Choice(" a" * count, "stop", scores=told(count)) for count in LENGTHS]
    for one in (True, False):
        charge = charge_of(answer(*choices, one=one), WORST, 4)
        assert (charge.used, charge.basis) == (Tokens(36, 148), "counted")
    # A server that counts them all is believed.
    whole = charge_of(answer(*choices, usage=USAGE | {"completion_tokens": 152}), WORST, 4)
    assert (whole.used, whole.basis) == (Tokens(36, 152), "stated")


def test_without_their_tokens_they_are_estimated_upwards() -> None:
    choices = [Choice(" abc" * count, "stop") for count in LENGTHS]
    for one in (True, False):
        charge = charge_of(answer(*choices, one=one), WORST, 4)
        assert charge.basis == "estimated"
        assert 148 <= charge.used.response <= 800
    cut = charge_of(answer(*(spoken(30, "length") for _ in LENGTHS), one=True), WORST, 4)
    assert cut.used.response == 800
    # What was generated for answers that cannot be used was generated too.
    lost = charge_of(answer(choices[0], one=True, unusable=("x", "y", "z")), WORST, 4)
    assert lost.used.response >= 600


@pytest.mark.parametrize(
    "usage",
    [
        {},
        {"prompt_tokens": 36},
        {"completion_tokens": 29},
        {"prompt_tokens": 0, "completion_tokens": 29},
        {"total_tokens": 65},
    ],
)
def test_usage_that_is_not_said_is_unknown_and_never_0(usage: dict[str, int]) -> None:
    charge = charge_of(answer(spoken(20), usage=usage), WORST, 1)
    assert charge.basis == "unknown"
    assert charge.used.prompt == usage.get("prompt_tokens", 0) or charge.used.prompt == 500
    assert charge.used.response == usage.get("completion_tokens", 800)


@pytest.mark.parametrize(
    ("choice", "stated", "basis", "at_least"),
    [
        (spoken(20), 0, "estimated", 20),
        (Choice("ab", "stop", scores=told(30, "a")), 3, "counted", 30),
        (Choice("", "stop", reasoning="why " * 50), 2, "estimated", 50),
        (Choice("", "stop", tool_calls='[{"a": 1}]'), 0, "estimated", 10),
    ],
)
def test_one_answer_has_no_fewer_tokens_than_words_or_positions(
    choice: Choice, stated: int, basis: str, at_least: int
) -> None:
    usage = {"prompt_tokens": 36, "completion_tokens": stated}
    charge = charge_of(answer(choice, usage=usage), WORST, 1)
    assert (charge.basis, charge.used.prompt) == (basis, 36)
    assert at_least <= charge.used.response <= 800


def test_a_character_of_several_tokens_is_told_once_and_counts_for_all() -> None:
    choice = Choice("\N{SEEDLING} a", "stop", scores=(*told(1, "\N{SEEDLING}"), *told(1), *told(1)))
    assert tokens_in(choice, 100) == 4 + 1 + 1
    assert tokens_in(Choice("日本", "stop"), 100) == 7
    assert tokens_in(Choice("日本", "stop"), 5) == 5
    assert tokens_in(Choice("x", "length"), 100) == 100


@given(st.lists(st.integers(1, 60), min_size=1, max_size=5), st.integers(0, 300), st.booleans())
def test_a_charge_is_never_below_what_came_or_was_said(
    lengths: list[int], stated: int, one: bool
) -> None:
    choices = [Choice(" a" * count, "stop", scores=told(count)) for count in lengths]
    usage = {"prompt_tokens": 3, "completion_tokens": stated}
    worst = Tokens(500, 100 * len(lengths))
    charge = charge_of(answer(*choices, usage=usage, one=one), worst, len(lengths))
    assert charge.used.response == max(stated, sum(lengths))


def test_reasoning_that_is_counted_apart_is_charged() -> None:
    choice = Choice("Paris", "stop", reasoning="well " * 70)
    usage = {"prompt_tokens": 36, "completion_tokens": 2, "reasoning_tokens": 90}
    charge = charge_of(answer(choice, usage=usage), WORST, 1)
    assert (charge.used, charge.basis) == (Tokens(36, 92), "counted")
    # Where it is counted in, it is not counted twice.
    whole = charge_of(answer(choice, usage=usage | {"completion_tokens": 92}), WORST, 1)
    assert (whole.used, whole.basis) == (Tokens(36, 92), "stated")


def test_given_text_is_charged_as_the_server_says() -> None:
    scored = ScoredText(None, {"prompt_tokens": 9, "completion_tokens": 1}, "m", None)
    assert charge_of(scored, Tokens(9, 1), 1).basis == "stated"
    silent = charge_of(ScoredText(None, {}, "m", None), Tokens(9, 1), 1)
    assert (silent.used, silent.basis) == (Tokens(9, 1), "unknown")


def test_a_server_that_times_one_answer_counts_one() -> None:
    def parsed(choices: int, **fields: Any) -> bool:
        each = [{"finish_reason": "stop", "message": {"content": "a"}}] * choices
        body = {"choices": each, "usage": {"completion_tokens": 29}, **fields}
        return parse_answer(json.dumps(body).encode(), 9).counts_one

    assert parsed(4, timings={"predicted_n": 29})
    assert not parsed(1, timings={"predicted_n": 29})
    assert not parsed(4, timings={"predicted_n": 7})
    assert not parsed(4, timings={}) and not parsed(4, timings=[29]) and not parsed(4)
    assert not parsed(4, timings={"predicted_n": 29}, usage=None)
