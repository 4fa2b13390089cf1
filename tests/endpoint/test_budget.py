"""No order of prices, requests and settlements exceeds the budget."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.endpoint.budget import (
    Budget,
    Prices,
    Tokens,
    likely_prompt_tokens,
    most_prompt_tokens,
)

PRICES = st.sampled_from([0.0, 0.5, 3.0, 40.0])
REQUESTS = st.lists(
    st.tuples(st.integers(1, 4000), st.integers(1, 4000), st.integers(0, 100)), max_size=60
)


@given(PRICES, PRICES, st.floats(0, 0.2), REQUESTS, st.randoms(use_true_random=False))
def test_what_is_spent_never_exceeds_the_budget(
    price_in: float,
    price_out: float,
    money: float,
    requests: list[tuple[int, int, int]],
    chance: object,
) -> None:
    prices = Prices(price_in, price_out)
    budget = Budget(prices, money=money)
    open_requests: list[tuple[Tokens, Tokens]] = []
    for prompt, response, share in requests:
        worst = Tokens(prompt, response)
        if budget.reserve(worst) == "go":
            used = Tokens(prompt * share // 100, response * share // 100)
            open_requests.append((worst, used))
        elif open_requests:
            budget.settle(*open_requests.pop(chance.randrange(len(open_requests))))  # type: ignore[attr-defined]
        whole = prices.of(budget.spent + budget.reserved)
        assert whole is not None
        assert whole <= money
    for worst, used in open_requests:
        budget.settle(worst, used)
    assert budget.reserved == Tokens()


@pytest.mark.parametrize(("price_in", "price_out"), [(1.0, 10.0), (10.0, 1.0)])
def test_what_stops_depends_on_which_price_is_higher(price_in: float, price_out: float) -> None:
    long_prompt, long_answer = Tokens(900, 100), Tokens(100, 900)
    budget = Budget(Prices(price_in, price_out), money=0.005)
    dear, cheap = (long_prompt, long_answer) if price_in > price_out else (long_answer, long_prompt)
    assert budget.reserve(dear) == "stop"
    assert budget.reserve(cheap) == "go"


def test_a_request_waits_for_those_in_flight_before_it_stops() -> None:
    budget = Budget(Prices(), tokens=100)
    worst = Tokens(10, 50)
    assert budget.reserve(worst) == "go"
    assert budget.reserve(worst) == "wait"
    budget.settle(worst, Tokens(10, 20))
    assert budget.reserve(worst) == "go"
    budget.settle(worst, worst)
    assert budget.reserve(worst) == "stop"


def test_what_was_spent_before_counts() -> None:
    assert Budget(Prices(), tokens=100, spent=Tokens(60, 20)).reserve(Tokens(10, 11)) == "stop"
    assert Budget(Prices(), tokens=100, spent=Tokens(60, 20)).reserve(Tokens(10, 10)) == "go"


def test_without_a_budget_everything_goes() -> None:
    budget = Budget(Prices(1e9, 1e9))
    assert budget.reserve(Tokens(10**9, 10**9)) == "go"


def test_money_without_prices_is_not_known() -> None:
    assert Prices(1.0, None).of(Tokens(5, 5)) is None
    assert Prices(1.0, 2.0).of(Tokens(1_000_000, 500_000)) == 2.0
    assert Budget(Prices(), money=1.0).reserve(Tokens(1, 1)) == "stop"


@given(st.lists(st.text(), max_size=4))
def test_the_most_is_more_than_a_byte_a_token(texts: list[str]) -> None:
    messages = [{"role": "user", "content": text} for text in texts]
    bytes_ = sum(len(t.encode("utf-8", "replace")) for t in texts)
    assert most_prompt_tokens(messages) > bytes_
    assert likely_prompt_tokens(texts) <= most_prompt_tokens(messages)
    call = {"type": "function", "function": {"name": "f", "arguments": {"says": texts}}}
    calling = [*messages, {"role": "assistant", "content": "", "tool_calls": [call]}]
    assert most_prompt_tokens(calling) > most_prompt_tokens(messages) + bytes_
    assert most_prompt_tokens(messages, [call]) > most_prompt_tokens(messages) + bytes_
