"""A server's numbers are a distribution, or there are none."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.collect.served.distribution import NoTargets, check_told, likeliest_row
from potstill.endpoint.wire import ScoredToken

WIDTH = 300


def id_of(token_id: int, text: str) -> int:
    if token_id < 0 and not text.isdecimal():
        raise NoTargets("a token's text that has no id, or several")
    return token_id if token_id >= 0 else int(text)


def score(*told: float, own: float | None = None, ids: tuple[int, ...] = ()) -> ScoredToken:
    top = tuple((i, "", logp) for i, logp in zip(ids or range(len(told)), told, strict=True))
    return ScoredToken(top[0][0] if top else 0, "", top, own)


def row(told: ScoredToken, count: int = 2) -> list[tuple[int, float]]:
    return likeliest_row(told, id_of, count, WIDTH)


def why(told: ScoredToken, count: int = 2) -> str:
    with pytest.raises(NoTargets) as caught:
        row(told, count)
    return str(caught.value)


NONE = "a log-probability that is none"
ABOVE = "log-probabilities whose probabilities add up to more than 1"
MARK = "a mark in place of a log-probability (-9999 or the like)"
TWO = "two log-probabilities of one token"
OWN = "a token's own log-probability is not that of its entry in the list"
LIKELIER = "tokens that cannot be the likeliest: they leave too much to the others"


@pytest.mark.parametrize(
    ("told", "reason"),
    [
        (score(math.nan, -1.0), NONE),
        (score(-0.5, -1.0, math.nan), NONE),
        (score(-0.5, -1.5, own=math.nan), NONE),
        (score(0.9, 0.1), NONE),  # probabilities
        (score(math.inf, -1.0), NONE),
        (score(0.0, 0.0, 0.0, 0.0), ABOVE),
        (score(0.0, -3.0), ABOVE),
        (score(-0.1, -0.2), ABOVE),
        (score(-0.69, -0.67), ABOVE),
        (score(0.0, -9999.0), MARK),
        (score(0.0, -math.inf), MARK),
        (score(-0.0001, -3.4e38), MARK),
        (score(-0.2, -1e9, own=-0.2), MARK),
        (score(-0.5, -1.5, -0.9, ids=(1, 2, 1)), TWO),
        (score(-0.5, -1.5, -3.5, ids=(1, 2, 1)), TWO),
        (score(-1.5, -0.5, -2.5, ids=(1, 2, 2)), TWO),
        (score(-0.5, -1.5, own=0.0), OWN),
        (score(-0.5, -1.5, own=-2.0), OWN),
        (score(-0.5, -1.5, own=-9999.0), OWN),
        (score(-50.0, -51.0), LIKELIER),
        (score(-12.0, -12.5), LIKELIER),
        (score(-0.5, -15.0), LIKELIER),
        (score(-900.0, -999.0), LIKELIER),
        (score(-0.5), "the server gave fewer likeliest tokens than were asked for"),
        (score(), "the server gave fewer likeliest tokens than were asked for"),
        (
            score(-0.5, -0.5, ids=(1, 1)),
            "the server gave fewer likeliest tokens than were asked for",
        ),
    ],
)
def test_numbers_that_are_no_distribution_say_why(told: ScoredToken, reason: str) -> None:
    assert why(told) == reason


@pytest.mark.parametrize(
    "told",
    [
        score(-0.5, -1.5, own=-0.5),
        score(-1.5, -0.5, -3.0, ids=(1, 0, 2)),  # in no order
        score(-0.5, -0.5, -1.5, ids=(0, 0, 1)),  # the drawn token's entry is told twice
        score(-0.5, -1.5, -0.501, ids=(0, 1, 0), own=-0.5),
        score(-0.5, -1.5, -9999.0, ids=(0, 1, 7)),  # beyond those that are kept
    ],
)
def test_order_and_repeats_change_nothing(told: ScoredToken) -> None:
    assert [(i, round(logp, 2)) for i, logp in row(told)] == [(0, -0.5), (1, -1.5)]


def test_a_drawn_token_that_is_not_listed_is_less_likely_than_those() -> None:
    listed = ((1, "", -0.5), (2, "", -2.0))
    assert row(ScoredToken(9, "", listed, -4.0)) == [(1, -0.5), (2, -2.0)]
    assert row(ScoredToken(9, "", listed, -9999.0)) == [(1, -0.5), (2, -2.0)]
    assert why(ScoredToken(9, "", listed, -1.0)) == OWN


def test_tokens_are_named_by_text_too() -> None:
    named = ScoredToken(-1, "7", ((-1, "7", -0.5), (-1, "8", -1.5), (-1, "?", -1.6)), -0.5)
    assert row(named) == [(7, -0.5), (8, -1.5)]
    assert why(named, 3) == "a token's text that has no id, or several"


def test_bf16_may_add_up_to_a_little_more_than_one() -> None:
    assert len(row(score(-0.6914, -0.6914))) == 2


@pytest.mark.parametrize("rows", [[[(1, 0.0)]], [[(1, 0.0)], [(2, 0.0)]], [[(1, -0.0)]] * 3])
def test_figures_that_are_all_0_are_none(rows: list[list[tuple[int, float]]]) -> None:
    with pytest.raises(NoTargets, match="that are all 0"):
        check_told(rows)
    check_told([*rows, [(3, -1e-7)]])


@given(st.lists(st.floats(-8, 8), min_size=6, max_size=40), st.integers(2, 5))
def test_every_distribution_passes(logits: list[float], count: int) -> None:
    total = math.log(sum(math.exp(x) for x in logits))
    logps = [x - total for x in logits]
    told = sorted(enumerate(logps), key=lambda entry: -entry[1])[: count + 1]
    for own in range(len(logps)):
        drawn = ScoredToken(own, "", tuple((i, "", logp) for i, logp in told), logps[own])
        found = likeliest_row(drawn, id_of, count, len(logits))
        assert sorted(logp for _, logp in found) == sorted(logp for _, logp in told[:count])
