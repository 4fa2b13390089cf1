"""Reasoning told apart from answers, in text and in token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.text.reasoning import (
    Trace,
    answer_ids,
    answer_of,
    reasoning_of,
    split_trace,
)

plain = st.text("ab <\n", max_size=12)


@dataclass(frozen=True)
class Said:
    """What an exchange has of an answer; nothing else is needed."""

    response: str
    reasoning: str | None = None


@pytest.mark.parametrize(
    ("response", "trace"),
    [
        ("It is 4.", Trace("", "It is 4.", 0)),
        ("<think>\n2+2\n</think>\n\nIt is 4.", Trace("2+2", "It is 4.", 20)),
        ("\n<thought>x</thought>4", Trace("x", "4", 21)),
        ("2+2</think>4", Trace("2+2", "4", 11)),
        ("<think>2+", Trace("2+", "", 9)),
        ("<think></think>4", Trace("", "4", 15)),
        ("<think>a</think>b</think>c", Trace("a", "b</think>c", 16)),
        ("<think>a</reasoning>b", Trace("a</reasoning>b", "", 21)),
        ("Use the tag <think> for it.", Trace("", "Use the tag <think> for it.", 0)),
        ("", Trace("", "", 0)),
    ],
)
def test_split(response: str, trace: Trace) -> None:
    assert split_trace(response) == trace


@given(plain, plain)
def test_parts_come_back_from_either_form(reasoning: str, answer: str) -> None:
    apart = Said(answer, reasoning)
    joined = Said(f"<think>\n{reasoning}\n</think>\n\n{answer}")
    assert reasoning_of(joined).strip() == reasoning_of(apart).strip() == reasoning.strip()
    assert answer_of(joined).strip() == answer.strip()
    assert answer_of(apart) == split_trace(answer).answer


def by_character(ids: Sequence[int]) -> str:
    return "".join(map(chr, ids))


@given(plain, st.text("ab", min_size=1, max_size=12))
def test_ids_of_the_answer_are_the_stored_ones(reasoning: str, answer: str) -> None:
    response = f"<think>{reasoning}</think>\n\n{answer}"
    ids = [ord(character) for character in response]
    assert by_character(answer_ids(response, ids, by_character) or ()) == answer


PIECES = {1: "<think>", 2: "so", 3: "</think>", 4: "\n\n", 5: "It", 6: " is", 7: "", 8: ">It"}


def by_piece(ids: Sequence[int]) -> str:
    return "".join(PIECES[i] for i in ids)


def test_the_end_of_sequence_stays_and_white_space_before_the_answer_goes() -> None:
    ids = (1, 2, 3, 4, 5, 6, 7)
    assert answer_ids(by_piece(ids), ids, by_piece) == (5, 6, 7)
    assert answer_ids("It is", (5, 6, 7), by_piece) == (5, 6, 7)


def test_a_token_over_the_border_leaves_no_ids() -> None:
    PIECES[9] = "</think"
    ids = (1, 2, 9, 8, 6)
    assert answer_ids(by_piece(ids), ids, by_piece) is None
