"""A mark without its key: its law, its coins, and what is refused of a key that does not fit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from made_keys import key_of
from pydantic import ValidationError
from scipy import stats
from traced_marks import DIGEST, green, gumbel, planned

from potstill.errors import PotstillError
from potstill.stats.exact import BinomialLaw, GammaLaw
from potstill.trace.marks import (
    PlannedMark,
    effect_of,
    effect_unit,
    figures_of,
    planned_mark,
    scores_of,
)
from potstill.watermark.schemes import GreenList, Gumbel
from potstill.watermark.vllm import VllmConfig, schemes_of


def test_a_plan_holds_everything_but_the_key() -> None:
    mark = planned(green())
    assert mark.law == BinomialLaw(0.25)
    assert planned(gumbel()).law == GammaLaw(1)
    again = PlannedMark.model_validate_json(mark.model_dump_json())
    assert again == mark
    again.check(green())
    assert key_of("one").secret.hex() not in mark.model_dump_json()


def test_the_scheme_is_made_again_under_the_key() -> None:
    for scheme in (green(window=3), gumbel()):
        assert planned(scheme).under(key_of("one")) == scheme


def test_another_key_or_scheme_is_refused_in_a_sentence() -> None:
    mark = planned(green())
    with pytest.raises(PotstillError, match="not the key of the plan"):
        mark.check(green("two"))
    with pytest.raises(PotstillError, match="not the key of the plan"):
        mark.under(key_of("two"))
    with pytest.raises(PotstillError, match=r"gamma 0\.25.*gamma 0\.5"):
        mark.check(GreenList(key_of("one"), 1, 0.5, 2.0))
    with pytest.raises(PotstillError, match="not for gumbel"):
        mark.check(Gumbel(key_of("one"), 1))


def test_vllm_s_marks_are_refused_whose_keys_no_plan_fixes() -> None:
    for algorithm in ("gumbel", "dual_key_gumbel"):
        for scheme in schemes_of(VllmConfig(algorithm=algorithm, key=5)):
            with pytest.raises(PotstillError, match=rf"{scheme.name}: .* which 2\^32 keys have"):
                planned_mark(scheme, tokenizer="blake3:00", vocabulary=100)
    # Nor is one of a plan that was made elsewhere taken for a mark of an epoch's key.
    foreign = planned(gumbel()).model_copy(update={"scheme": "vllm-gumbel"})
    with pytest.raises(PotstillError, match="not made by a key of an epoch"):
        foreign.under(key_of("one"))
    (sbw,) = schemes_of(VllmConfig(algorithm="sbw", key=5))
    with pytest.raises(PotstillError, match="vllm-sbw makes its own inputs"):
        planned_mark(sbw, tokenizer="blake3:00", vocabulary=100)


@pytest.mark.parametrize("wrong", [{"rate": 0.5, "shape": 1}, {"rate": None, "shape": None}])
def test_a_mark_has_one_law(wrong: dict[str, float | None]) -> None:
    with pytest.raises(ValidationError, match="either a rate or a shape"):
        PlannedMark.model_validate(planned(green()).model_dump() | wrong)


def test_coins_are_scores_without_a_mark() -> None:
    coins = [planned(green()).coin(DIGEST, "t", "c", i) for i in range(4_000)]
    assert set(coins) == {0.0, 1.0}
    assert stats.binomtest(int(sum(coins)), 4_000, 0.25).pvalue > 1e-3
    for shape in (1, 2):
        mark = PlannedMark.model_validate(planned(gumbel()).model_dump() | {"shape": shape})
        numbers = [mark.coin(DIGEST, "t", "c", i) for i in range(4_000)]
        assert stats.kstest(numbers, "gamma", args=(shape,)).pvalue > 1e-3
    assert planned(gumbel()).coin(DIGEST, "t", "c", 1) == planned(gumbel()).coin(
        DIGEST, "t", "c", 1
    )
    assert planned(gumbel()).coin(DIGEST, "t", "c", 1) != planned(gumbel()).coin("b", "t", "c", 1)


def test_scores_of_a_plan_are_possible_ones() -> None:
    assert [planned(green()).possible(s) for s in (0.0, 1.0, 0.5, -1.0, 2.0)] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert [planned(gumbel()).possible(s) for s in (0.0, 7.5, -0.1)] == [True, True, False]


def test_figures_are_those_of_the_law() -> None:
    law, scores = BinomialLaw(0.25), [1.0] * 30 + [0.0] * 20
    found = figures_of(law, scores, sequential=False)
    assert (found.n, found.total) == (50, 30)
    assert found.p == float(law.p(30, 50))
    assert found.log10_p == pytest.approx(math.log10(found.p))
    looked = figures_of(law, scores, sequential=True)
    # All 30 green ones come first: the largest E is the one after these.
    after_30 = figures_of(law, [1.0] * 30, sequential=True)
    assert looked.log10_p == after_30.log10_p == pytest.approx(-after_30.log10_e)
    assert looked.log10_e == found.log10_e < after_30.log10_e
    assert looked.p == pytest.approx(10**looked.log10_p)
    nothing = figures_of(law, [], sequential=False)
    assert (nothing.p, nothing.log10_p, nothing.log10_e) == (1, 0, 0)


def test_an_effect_has_an_exact_interval() -> None:
    assert effect_of(BinomialLaw(0.25), 0.0, 0) == (0.25, None, None)
    mean, low, high = effect_of(BinomialLaw(0.25), 30.0, 50)
    assert low is not None
    assert high is not None
    assert mean == 0.6
    assert stats.binom.sf(29, 50, low) == pytest.approx(0.025)
    assert stats.binom.cdf(30, 50, high) == pytest.approx(0.025)
    for shape in (1, 2):
        mean, low, high = effect_of(GammaLaw(shape), 30.0, 12)
        assert low is not None
        assert high is not None
        assert low < mean < high
        # Sums of scores of mean `low` reach 30 with a chance of 2.5%, and so on.
        assert stats.gamma.sf(30, 12 * shape, scale=low / shape) == pytest.approx(0.025)
        assert stats.gamma.cdf(30, 12 * shape, scale=high / shape) == pytest.approx(0.025)
    assert "0.25 without a mark" in effect_unit(BinomialLaw(0.25), "choices")
    assert "1 without a mark" in effect_unit(GammaLaw(1), "choices")


def test_scores_are_the_scheme_s() -> None:
    scheme = gumbel(window=2)
    rows = [([1, 2], 3), ([2, 3], 4), ([1, 2], 3)]
    found = scores_of(scheme, [w for w, _ in rows], [t for _, t in rows])
    columns = [np.array([1, 2, 1]), np.array([2, 3, 2])]
    assert list(found) == scheme.scores(scheme.inputs(columns, np.array([3, 4, 3]))).tolist()
    assert found[0] == found[2]
    assert scores_of(scheme, [], []) == ()
