"""Served answers among their twins: exact over every order, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from traced_marks import DIGEST

from potstill.errors import PotstillError
from potstill.stats.ranks import RankSumLaw
from potstill.trace.finding import Finding
from potstill.trace.twins import (
    ServedExchange,
    TwinsItem,
    TwinsPlanned,
    ranked_prompts,
    twins_finding,
    void_by_controls,
    with_controls,
)

Answers = Sequence[tuple[str, float]]


def plan(sets: Sequence[Answers], **more: Any) -> TwinsPlanned:
    exchanges = tuple(
        ServedExchange(prompt=f"prompt {i}", served=answers[0][0], twins=len(answers) - 1)
        for i, answers in enumerate(sets)
    )
    facts: dict[str, Any] = {"configuration": "c", "snapshot": "s", "temperature": 1.0}
    return TwinsPlanned(exchanges=exchanges, **{**facts, **more})


def items(sets: Sequence[Answers]) -> list[TwinsItem]:
    return [
        TwinsItem(
            index=i,
            outcome="answered",
            texts=tuple(text for text, _ in answers),
            suspect_logp=tuple(score for _, score in answers),
        )
        for i, answers in enumerate(sets)
    ]


def found_in(sets: Sequence[Answers], digest: str = DIGEST, **more: Any) -> Finding:
    return twins_finding(plan(sets, **more), items(sets), digest)


def test_a_served_answer_above_all_its_twins_has_the_least_p() -> None:
    sets = [[("a", -1.0), ("b", -2.0), ("c", -3.0)], [("d", -5.0), ("e", -9.0)]]
    found = found_in(sets)
    assert (found.n, found.coins, found.statistic) == (2, 0, 3)
    assert found.p == pytest.approx(1 / 6)
    assert found.null_mean == 1.5
    assert found.effect == 1
    assert found.tier == "proof"


def test_p_is_exact_over_every_order_of_every_set() -> None:
    """Whichever of its answers was served, for all prompts: P(p <= level) is at most the level."""
    sets = [
        [("a", 1.0), ("b", 2.0), ("c", 3.0)],
        [("a", 1.0), ("b", 5.0)],
        [("a", 0.5), ("b", 1.5), ("c", 2.5), ("d", 3.5)],
    ]
    orders = [[list(p) for p in permutations(answers)] for answers in sets]
    p = np.array([found_in(choice).p for choice in product(*orders)])
    for level in np.unique(p):
        assert np.mean(p <= level) == pytest.approx(level)


@given(
    answers=st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 1.0])), min_size=2, max_size=4
    )
)
def test_equal_texts_and_ties_leave_every_rank_as_likely(answers: list[tuple[str, float]]) -> None:
    """Over every order and many coins, ranks come equally often; equal texts share their score."""
    ranks = np.zeros(len(answers))
    orders = list(permutations(answers))
    for number, order in enumerate(orders):
        for digest in range(12):
            sets = [list(order)]
            found = ranked_prompts(plan(sets), items(sets), f"{number}-{digest}")
            if len({text for text, _ in answers}) == 1:
                assert found == []
                continue
            ranks[found[0].rank] += 1
    if ranks.sum():
        assert stats.chisquare(ranks).pvalue > 1e-9


def test_only_a_prompt_whose_answers_are_all_equal_is_left_out() -> None:
    sets = [
        [("a", -1.0), ("a", -1.0), ("a", -1.0)],
        [("a", -1.0), ("a", -1.0), ("b", -2.0)],
        [("a", -1.0), ("b", -2.0), ("b", -2.0)],
    ]
    found = found_in(sets)
    assert found.n == 2
    assert any("answers are equal: 1." in sentence for sentence in found.assumes)


def test_equal_texts_have_one_score_whatever_batch_they_were_in() -> None:
    """Rounding by the batch puts the served one nowhere: it shares a mean with its equal."""
    sets = [[("a", -1.0 + 1e-9), ("a", -1.0), ("b", -5.0)]]
    ranks = {found_in(sets, digest=f"{i}").statistic for i in range(40)}
    assert ranks == {1, 2}


def test_ties_are_coins_of_the_plan() -> None:
    sets = [[("a", 0.0), ("b", 0.0)]] * 60
    sets = [[(f"{i}{t}", s) for t, s in answers] for i, answers in enumerate(sets)]
    first, again, other = (found_in(sets, digest=d).statistic for d in ("x", "x", "y"))
    assert first == again != other
    assert stats.binomtest(int(first), 60, 0.5).pvalue > 1e-3


def test_what_failed_is_a_coin_and_never_skipped() -> None:
    sets = [[(f"{i}{j}", float(-j)) for j in range(5)] for i in range(40)]
    some = items(sets)
    for i in range(10, 40):
        some[i] = TwinsItem(index=i, outcome="error" if i % 2 else "refused")
    asked = plan(sets)
    found = twins_finding(asked, some, DIGEST)
    assert (found.n, found.coins) == (40, 30)
    assert found.effect == 1
    assert found.statistic > 40
    assert found.statistic < 160
    assert found.p > RankSumLaw((4,) * 40).p(160)
    totals = [sum(one.rank for one in ranked_prompts(asked, some, f"{i}")) for i in range(300)]
    assert np.mean(totals) == pytest.approx(40 + 60, abs=2)


def test_a_suspect_that_never_answers_is_all_coins() -> None:
    sets = [[("a", 1.0), ("b", 2.0)]] * 3
    nothing = [TwinsItem(index=i, outcome="refused") for i in range(3)]
    for bet_on in ("rank", "score"):
        found = twins_finding(plan(sets, bet_on=bet_on), nothing, DIGEST)
        assert (found.n, found.coins, found.effect) == (3, 3, 0.5)
        assert found.void is not None
        assert found.effect_low is None


def test_a_reference_is_taken_away_and_lengths_are_divided_by() -> None:
    sets = [[("a", -10.0), ("b", -12.0)]]
    (one,) = items(sets)
    with_reference = one.model_copy(update={"reference_logp": (-11.0, -20.0), "tokens": (1, 16)})
    asked = plan(sets, reference="teacher")
    # 1 against 8 in all; 1 against 0.5 a token.
    assert twins_finding(asked, [with_reference], DIGEST).statistic == 0
    each = plan(sets, reference="teacher", per_token=True)
    assert twins_finding(each, [with_reference], DIGEST).statistic == 1
    with pytest.raises(PotstillError, match=r"record 0 .* against the reference"):
        twins_finding(asked, [one], DIGEST)
    with pytest.raises(PotstillError, match=r"record 0 .* against the reference"):
        twins_finding(plan(sets), [with_reference], DIGEST)
    with pytest.raises(PotstillError, match=r"record 0 .* how long its answers are"):
        twins_finding(plan(sets, per_token=True), [one], DIGEST)


def guilty(prompts: int, twins: int, shift: float, seed: int) -> list[list[tuple[str, float]]]:
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(prompts, twins + 1))
    scores[:, 0] += shift
    return [[(f"{i}-{j}", float(s)) for j, s in enumerate(row)] for i, row in enumerate(scores)]


@pytest.mark.parametrize("bet_on", ["rank", "score"])
@pytest.mark.parametrize("steepness", [None, 1.0])
def test_bets_find_the_guilty_and_may_stop_early(bet_on: str, steepness: float | None) -> None:
    sets = guilty(300, 4, 1.0, seed=1)
    facts = {"bet_on": bet_on, "steepness": steepness}
    fixed = found_in(sets, **facts)
    assert fixed.log10_p < -6
    assert fixed.log10_e is not None
    assert fixed.log10_e > 4
    asked = plan(sets, sequential=True, **facts)
    early = twins_finding(asked, items(sets)[:150], DIGEST)
    assert early.n == 150
    assert early.log10_p < -1
    assert twins_finding(asked, items(sets), DIGEST).log10_p <= early.log10_p
    with pytest.raises(PotstillError, match="ends at record 150 of 300"):
        twins_finding(plan(sets, **facts), items(sets)[:150], DIGEST)


def test_a_p_far_out_has_its_logarithm() -> None:
    found = found_in(guilty(400, 9, 30.0, seed=2))
    assert found.p == 0
    assert found.log10_p == pytest.approx(-400)


def control(log10_p: float, **more: Any) -> Finding:
    found = found_in(guilty(5, 2, 0.0, seed=3))
    return found.model_copy(update={"p": 10**log10_p, "log10_p": log10_p, **more})


def test_clean_controls_leave_a_plan_and_biased_ones_void_it() -> None:
    finding = found_in(guilty(50, 4, 2.0, seed=4))
    clean = [control(math.log10(p)) for p in (0.4, 0.02, 0.9)]
    assert void_by_controls(clean) is None
    assert with_controls(finding, clean) == finding
    biased = [control(math.log10(p)) for p in (0.4, 0.0033, 0.9)]
    void = with_controls(finding, biased)
    assert void.void is not None
    assert "3 times the least p is 0.01" in void.void
    assert void.p == finding.p
    assert void_by_controls([control(-320), *clean]) is not None


def test_fewer_than_three_sound_controls_are_refused() -> None:
    three = [control(-1), control(-1), control(-1)]
    for wrong in ([], three[:2], [*three[:2], control(-1, void="no prompt")]):
        with pytest.raises(PotstillError, match="3 models at least"):
            void_by_controls(wrong)
    with pytest.raises(PotstillError, match="3 such findings among 4"):
        void_by_controls([*three, control(-1, test="agreement")])


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"temperature": 0.0}, "at temperature 0 have no twins"),
        ({"marked_with": "gumbel"}, "Gumbel-marked answers have no twins"),
        ({"marked_with": "vllm-gumbel"}, "Gumbel-marked answers have no twins"),
    ],
)
def test_logs_without_twins_are_refused_in_a_sentence(facts: dict[str, Any], why: str) -> None:
    with pytest.raises(PotstillError, match=why):
        plan([[("a", 1.0), ("b", 2.0)]], **facts)
    plan([[("a", 1.0), ("b", 2.0)]], marked_with="green")


def test_a_prompt_stands_once() -> None:
    one = ServedExchange(prompt="p", served="a", twins=1)
    facts = {"configuration": "c", "snapshot": "s", "temperature": 1.0}
    with pytest.raises(PotstillError, match="a prompt stands twice"):
        TwinsPlanned.model_validate({**facts, "exchanges": [one, one]})


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"texts": ("x", "b", "c")}, "record 1 .* ranks another answer than the one"),
        ({"texts": ("a", "b"), "suspect_logp": (1.0, 2.0)}, "record 1 .* the 2 twins planned"),
        ({"index": 2}, "record 1 of the raw log is missing"),
        ({"index": 9}, "record 9 belongs to no question of the plan"),
    ],
)
def test_what_no_run_wrote_is_named(change: dict[str, Any], named: str) -> None:
    sets = [[("a", 1.0), ("b", 2.0), ("c", 3.0)]] * 3
    some = items(sets)
    some[1] = some[1].model_copy(update=change)
    with pytest.raises(PotstillError, match=named):
        twins_finding(plan(sets), some, DIGEST)


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"outcome": "answered", "texts": ("a", "b")}, "what failed has none"),
        ({"outcome": "error", "texts": ("a",), "suspect_logp": (1.0,)}, "what failed has none"),
        (
            {"outcome": "answered", "texts": ("a", "b"), "suspect_logp": (1.0,)},
            "one figure of a kind",
        ),
        (
            {"outcome": "answered", "texts": ("a",), "suspect_logp": (1.0,), "tokens": (0,)},
            "one token at least",
        ),
    ],
)
def test_an_item_says_one_thing(wrong: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        TwinsItem.model_validate({"index": 0, **wrong})
