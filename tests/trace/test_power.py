"""What a plan would take and find: against counts by hand, and against simulated suspects."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from potstill.endpoint.budget import Prices, Tokens
from potstill.stats.exact import BinomialLaw, GammaLaw
from potstill.stats.ranks import RankSumLaw
from potstill.trace.power import (
    Outlay,
    Pace,
    answers_outlay,
    expected_of_mark,
    expected_of_twins,
    rank_chances,
    readings_outlay,
    twins_outlay,
)

RNG = np.random.default_rng(20261130)
GREEN, GUMBEL = BinomialLaw(0.5), GammaLaw(1)


def test_answers_take_what_is_asked_at_its_longest() -> None:
    found = answers_outlay([10, 20], 3, 50, prices=Prices(1.0, 2.0))
    assert (found.questions, found.tokens, found.minutes) == (6, Tokens(90, 300), None)
    assert found.money == pytest.approx((90 * 1 + 300 * 2) / 1e6)
    here = answers_outlay([10, 20], 3, 50, pace=Pace(read=90.0, written=300.0))
    assert (here.money, here.minutes) == (None, pytest.approx(2 / 60))
    assert answers_outlay([10], 1, 5, prices=Prices()).money is None


def test_readings_take_their_tokens_and_a_server_one_more_for_each() -> None:
    assert readings_outlay([30, 40]).tokens == Tokens(70, 0)
    served = readings_outlay([30, 40], prices=Prices(1.0, 1.0))
    assert (served.questions, served.tokens) == (2, Tokens(70, 2))


def test_twins_are_drawn_by_the_teacher_and_read_by_everybody() -> None:
    teacher, pace = Pace(read=20.0, written=80.0), Pace(read=1000.0, written=1.0)
    found = twins_outlay([10], 20, 4, teacher, models=2, pace=pace)
    # Drawn: 4 prompts of 10, 80 tokens. Read, twice: 5 texts of 30.
    assert found.tokens == Tokens(40 + 2 * 150, 80)
    assert found.minutes == pytest.approx((40 / 20 + 80 / 80 + 2 * 150 / 1000) / 60)
    assert found.questions == 10
    elsewhere = twins_outlay([10], 20, 4, None, models=2, pace=pace)
    assert elsewhere.tokens == Tokens(2 * 150, 0)
    assert elsewhere.minutes == pytest.approx(2 * 150 / 1000 / 60)
    served = twins_outlay([10], 20, 4, teacher, models=1, prices=Prices(1e6, 0.0))
    assert (served.questions, served.tokens) == (5, Tokens(40 + 150, 80 + 5))
    assert served.money == pytest.approx(150)
    # Where the engine that served draws them, nobody here does.
    elsewhere = twins_outlay([10], 20, 4, None, models=1, prices=Prices(1e6, 0.0))
    assert (elsewhere.tokens, elsewhere.minutes) == (Tokens(150, 5), None)
    assert Outlay(1, Tokens(1, 1)) + Outlay(2, Tokens(2, 2)) == Outlay(3, Tokens(3, 3))


@pytest.mark.parametrize("law", [GREEN, BinomialLaw(0.25), GUMBEL])
@pytest.mark.parametrize("learnt", [0.0, 0.1, 0.3])
def test_the_power_of_a_mark_is_what_simulated_suspects_show(law, learnt: float) -> None:
    marked = 0.8 if isinstance(law, BinomialLaw) else 2.0
    n, alpha, trials = 300, 0.01, 4000
    found = expected_of_mark(law, marked, learnt, n, alpha)
    mean = law.mean + learnt * (marked - law.mean)
    if isinstance(law, BinomialLaw):
        total = RNG.binomial(n, mean, trials)
    else:
        total = RNG.gamma(n, mean, trials)
    share = float(np.mean(law.p(total, n) <= alpha))
    assert abs(share - found.power) < 4 * math.sqrt(0.25 / trials)
    assert (found.needed is None) is (learnt == 0)
    if learnt == 0:
        assert found.power <= alpha * (1 + 1e-9)


def test_what_is_needed_of_a_mark_gives_four_in_five() -> None:
    found = expected_of_mark(GREEN, 0.8, 0.3, 100, 1e-6)
    assert found.needed is not None
    assert 0.75 < expected_of_mark(GREEN, 0.8, 0.3, found.needed, 1e-6).power < 0.85
    assert "30% of the mark's excess" in found.assumes
    assert expected_of_mark(GREEN, 0.8, 0.3, 0, 1e-6).power == 0


@given(st.integers(1, 12))
def test_ranks_without_a_shift_are_uniform(twins: int) -> None:
    assert rank_chances(twins, 0.0) == pytest.approx([1 / (twins + 1)] * (twins + 1), abs=1e-9)


def test_one_twin_is_beaten_at_the_chance_of_two_normals() -> None:
    for shift in (0.3, 1.0):
        beaten = 0.5 * (1 + math.erf(shift / 2))
        assert rank_chances(1, shift)[1] == pytest.approx(beaten, abs=1e-9)


@pytest.mark.parametrize(("twins", "shift"), [(1, 0.4), (4, 0.25), (9, 0.2), (9, 0.0)])
def test_the_power_of_twins_is_what_simulated_suspects_show(twins: int, shift: float) -> None:
    prompts, alpha, trials = 150, 0.01, 3000
    found = expected_of_twins(prompts, twins, shift, alpha)
    others = RNG.standard_normal((trials, prompts, twins))
    served = RNG.standard_normal((trials, prompts, 1)) + shift
    totals = (others < served).sum((1, 2))
    law = RankSumLaw((twins,) * prompts)
    p = {int(t): law.p(int(t)) for t in np.unique(totals)}
    share = np.mean([p[int(t)] <= alpha for t in totals])
    assert abs(share - found.power) < 0.04
    assert (found.needed is None) is (shift == 0)


def test_what_is_needed_of_twins_gives_four_in_five() -> None:
    found = expected_of_twins(100, 4, 0.3, 1e-4)
    assert found.needed is not None
    assert 0.75 < expected_of_twins(found.needed, 4, 0.3, 1e-4).power < 0.85
    assert "0.3 standard deviations" in found.assumes
    assert expected_of_twins(0, 4, 0.3, 1e-4).power == 0
    # So few that no sum of ranks can reach alpha.
    assert expected_of_twins(2, 4, 9.0, 1e-4).power == 0
    assert (expected_of_twins(2, 4, 9.0, 1e-4).needed or 0) >= 6


def test_coins_beside_the_scores_cost_power_as_their_sum_says() -> None:
    scores, coins, alpha = 300, 500, 1e-3
    found = expected_of_mark(GREEN, 0.8, 0.5, scores, alpha, coins=coins)
    least = next(s for s in range(scores + coins + 1) if GREEN.p(s, scores + coins) <= alpha)
    # Exact: the two kinds of scores apart, and their sums put together.
    own = binom.pmf(np.arange(scores + 1), scores, 0.65)
    chance = np.convolve(own, binom.pmf(np.arange(coins + 1), coins, 0.5))[least:].sum()
    assert found.power == pytest.approx(chance, abs=0.02)
    assert found.power < expected_of_mark(GREEN, 0.8, 0.5, scores, alpha).power - 0.2
    assert found.coins == coins
