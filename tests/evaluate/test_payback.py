"""Costs of calls, and from which volume on a student has paid."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.evaluate.payback import MachinePrice, TokenPrice, cost_per_1000_calls, payback


def test_a_machine_is_paid_by_the_hour_and_an_endpoint_by_the_token():
    assert cost_per_1000_calls(MachinePrice(3.6, machine_hour=2.0)) == pytest.approx(2.0)
    by_token = TokenPrice(500, 20, prompt_million=0.15, response_million=0.60)
    assert cost_per_1000_calls(by_token) == pytest.approx(0.075 + 0.012)


def test_a_student_pays_back_what_was_spent_on_it():
    found = payback(MachinePrice(1.8, 2.0), MachinePrice(0.36, 2.0), spent=4.0)
    assert found.teacher_per_1000_calls == pytest.approx(1.0)
    assert found.student_per_1000_calls == pytest.approx(0.2)
    assert found.calls == 5000
    assert found.record()["calls"] == 5000


def test_a_dearer_student_never_pays_back():
    cheap, dear = TokenPrice(10, 1, 0.1, 0.1), MachinePrice(1, 1)
    found = payback(cheap, dear, spent=1.0)
    assert found.calls is None
    assert found.saved_per_1000_calls < 0
    assert payback(dear, dear, spent=0.0).calls is None


def test_what_cost_nothing_has_paid_at_once():
    assert payback(MachinePrice(2, 1), MachinePrice(1, 1), spent=0.0).calls == 0


# What is next to nothing as a float is no price.
amounts = st.floats(1e-9, 1e3) | st.just(0.0)
prices = st.builds(MachinePrice, amounts, amounts)


@given(prices, prices, amounts)
def test_the_volume_is_the_least_one_at_which_the_student_is_not_dearer(teacher, student, spent):
    found = payback(teacher, student, spent=spent)
    saved = found.saved_per_1000_calls / 1000
    if found.calls is None:
        assert saved <= 0 or not math.isfinite(spent / saved)
    else:
        slack = 1e-9 * max(spent, 1e-300)
        assert found.calls * saved >= spent - slack
        assert found.calls == 0 or (found.calls - 1) * saved <= spent + slack


@pytest.mark.parametrize("bad", [-1.0, math.inf, math.nan])
def test_impossible_prices_are_refused(bad):
    with pytest.raises(ValueError, match="not negative"):
        cost_per_1000_calls(MachinePrice(bad, 1))
    with pytest.raises(ValueError, match="not negative"):
        payback(MachinePrice(1, 1), MachinePrice(1, 1), spent=bad)
