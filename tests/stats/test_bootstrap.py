"""Intervals: against plain loops, against known cases, and by simulated coverage."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from potstill.stats import bootstrap
from potstill.stats.bootstrap import (
    Interval,
    bounds_of_equal_scores,
    difference_interval,
    mean_score_interval,
    perplexity_interval,
    quotient_interval,
    ratio_interval,
    resampled_sums,
    statistic_interval,
)

COVERAGE = Path(__file__).parents[2] / "benchmarks" / "interval_coverage.json"


def skewed(prompts: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    tokens = np.ceil(rng.lognormal(3.5, 0.7, prompts))
    return tokens * rng.lognormal(-1, 0.6, prompts), tokens


@given(
    st.integers(2, 40),
    st.integers(0, 2**31),
    st.sampled_from(["expanded", "percentile", "bca"]),
)
@settings(max_examples=30, deadline=None)
def test_the_value_is_the_ratio_of_sums_and_lies_inside(prompts, seed, method):
    kl, tokens = skewed(prompts, seed)
    interval = ratio_interval(kl, tokens, resamples=300, seed=seed, method=method)
    assert interval.value == pytest.approx(kl.sum() / tokens.sum(), rel=1e-12)
    assert interval.lo <= interval.hi
    assert min(kl / tokens) - 1e-12 <= interval.lo
    assert interval.hi <= max(kl / tokens) + 1e-12
    assert interval.n == prompts


def test_percentile_equals_a_plain_loop_over_the_same_draws():
    kl, tokens = skewed(30)
    rng = np.random.default_rng(5)
    ratios = []
    for _ in range(500):
        weights = rng.multinomial(30, np.full(30, 1 / 30))
        ratios.append((weights * kl).sum() / (weights * tokens).sum())
    interval = ratio_interval(kl, tokens, resamples=500, seed=5, method="percentile")
    assert (interval.lo, interval.hi) == pytest.approx(tuple(np.quantile(ratios, [0.025, 0.975])))


def test_bca_equals_scipys():
    from scipy import stats

    kl, tokens = skewed(60)
    theirs = stats.bootstrap(
        (kl, tokens),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True,
        vectorized=True,
        n_resamples=20_000,
        method="BCa",
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = ratio_interval(kl, tokens, resamples=20_000, seed=2, method="bca")
    assert ours.lo == pytest.approx(theirs.low, rel=0.01)
    assert ours.hi == pytest.approx(theirs.high, rel=0.01)


def test_expanded_widens_few_prompts_and_hardly_many():
    few, many = skewed(12), skewed(1000)
    for columns, least, most in ((few, 1.05, 1.4), (many, 0.99, 1.02)):
        plain = ratio_interval(*columns, method="percentile")
        wide = ratio_interval(*columns, method="expanded")
        assert least <= (wide.hi - wide.lo) / (plain.hi - plain.lo) <= most


def test_perplexity_is_the_exponential_of_the_ratios_interval():
    nll, tokens = skewed(50)
    ratio = ratio_interval(nll, tokens, seed=3)
    perplexity = perplexity_interval(nll, tokens, seed=3)
    assert perplexity.value == pytest.approx(np.exp(ratio.value))
    assert perplexity.lo == pytest.approx(np.exp(ratio.lo), rel=1e-3)
    assert perplexity.hi == pytest.approx(np.exp(ratio.hi), rel=1e-3)


def test_pairing_takes_out_what_models_share():
    kl, tokens = skewed(200)
    other = kl * 1.5 + 0.001 * tokens
    paired = difference_interval(kl, tokens, other, tokens)
    alone = ratio_interval(kl, tokens)
    assert paired.hi < 0
    assert paired.hi - paired.lo < alone.hi - alone.lo
    same = difference_interval(kl, tokens, kl, tokens)
    assert (same.value, same.ends) == (0, None)


def test_a_constant_multiple_has_a_quotient_without_an_interval():
    kl, tokens = skewed(80)
    quotient = quotient_interval(0.5 * kl, tokens, kl, tokens)
    assert quotient.value == pytest.approx(0.5)
    assert quotient.ends is None


@pytest.mark.parametrize("method", ["expanded", "percentile", "bca"])
def test_neither_a_constant_nor_one_prompt_has_an_interval(method):
    assert ratio_interval([2.0] * 10, [4.0] * 10, method=method) == Interval(0.5, None, None, 10)
    # Shares of unequal length, alike but for rounding.
    thirds = ratio_interval([0.1, 0.2, 0.3, 7.1], [0.3, 0.6, 0.9, 21.3], method=method)
    assert thirds.value == pytest.approx(1 / 3)
    assert thirds.ends is None
    assert ratio_interval([3.0], [4.0], method=method) == Interval(0.75, None, None, 1)
    assert ratio_interval([9.0, 4.0], [9.0, 4.0], method=method).as_dict()["ci95"] is None


@pytest.mark.parametrize("n", [1, 2, 20, 500])
@pytest.mark.parametrize("score", [0.0, 1.0])
def test_scores_that_are_all_right_or_all_wrong_have_the_exact_interval(n, score):
    found = mean_score_interval([score] * n, resamples=50)
    exact = scipy.stats.binomtest(int(score * n), n).proportion_ci(0.95, method="exact")
    assert found.value == score
    assert found.ends == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize("scores", [[0.5] * 9, [1 / 3] * 4, [0.25]])
def test_other_scores_that_are_all_equal_have_no_interval(scores):
    assert mean_score_interval(scores).ends is None
    with pytest.raises(ValueError, match="at 0 and 1 alone"):
        bounds_of_equal_scores(scores[0], len(scores))


def test_one_score_that_differs_has_an_interval_again_and_none_lies_outside():
    assert mean_score_interval([1.0] * 19 + [0.0]).ends is not None
    with pytest.raises(ValueError, match="lie in"):
        mean_score_interval([1.0, 1.5])


@pytest.mark.parametrize("mean", [0.6, 0.9, 0.97])
def test_the_exact_interval_is_left_by_no_more_than_its_level_however_scores_are_spread(mean):
    """Graded scores too: the chance of all ones is largest where scores are right or wrong."""
    for prompts in (1, 5, 20, 60):
        low, _ = bounds_of_equal_scores(1.0, prompts)
        # Of those that are not 1, the spread changes nothing but the chance of a 1.
        for rest in (0.0, 0.3, 0.5):
            ones = (mean - rest) / (1 - rest)
            misses = ones**prompts if low > mean else 0.0
            assert misses <= 0.025 + 1e-12


def test_same_seed_same_interval_and_blocks_change_nothing(monkeypatch):
    kl, tokens = skewed(25)
    whole = resampled_sums(np.stack([kl, tokens], 1), resamples=100, seed=4)
    monkeypatch.setattr(bootstrap, "_BLOCK", 25 * 7)
    in_blocks = resampled_sums(np.stack([kl, tokens], 1), resamples=100, seed=4)
    np.testing.assert_allclose(in_blocks, whole, rtol=1e-12)
    assert ratio_interval(kl, tokens, seed=4) != ratio_interval(kl, tokens, seed=5)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (([], []), "no prompts"),
        (([1.0, 2.0], [1.0]), "equally long"),
        (([1.0, 2.0], [0.0, 0.0]), "not finite"),
    ],
)
def test_impossible_input_is_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        ratio_interval(*columns)


def test_resamples_without_a_value_are_left_out():
    # Half of these prompts have no tokens: some resamples of two divide by zero.
    interval = ratio_interval([0.0, 1.0], [0.0, 2.0], resamples=200)
    assert (interval.value, interval.ends) == (0.5, None)


def test_intervals_cover_the_truth_as_often_as_they_say():
    # Normal data, whose truth is known: 1,000 trials of 60 prompts; the bounds are those of a
    # binomial at 0.95, four standard errors wide, with 0.01 for what a bootstrap falls short.
    rng = np.random.default_rng(11)
    trials, prompts = 1_000, 60
    tokens_TP = np.ceil(rng.uniform(20, 60, (trials, prompts)))
    kl_TP = tokens_TP * 0.3 + rng.normal(0, 1, (trials, prompts)) * np.sqrt(tokens_TP)
    sums = resampled_sums(np.concatenate([kl_TP, tokens_TP]).T, resamples=1_000, seed=12)
    hits = 0
    for t in range(trials):
        interval = bootstrap.interval_from_sums(
            lambda s: s[..., 0] / s[..., 1],
            np.stack([kl_TP[t], tokens_TP[t]], axis=1),
            sums[:, [t, trials + t]],
        )
        hits += interval.lo <= 0.3 <= interval.hi
    assert 0.95 - 0.01 - 4 * 0.0069 <= hits / trials <= 0.95 + 4 * 0.0069


def test_the_method_in_use_is_the_one_that_covered_best():
    records = json.loads(COVERAGE.read_text())["records"]
    covered: dict[str, list[float]] = {}
    for record in records:
        covered.setdefault(record["method"], []).append(record["coverage"])
    assert max(covered, key=lambda method: min(covered[method])) == bootstrap.METHOD
    at_least_200 = [
        r["coverage"] for r in records if r["prompts"] >= 200 and r["method"] == bootstrap.METHOD
    ]
    assert min(at_least_200) >= 0.935


def test_a_statistic_of_ones_own():
    found = statistic_interval(lambda s: s[..., 0] - s[..., 1], [[3.0, 5.0], [1.0, 1.0]])
    assert found.value == 6
    assert found.as_dict() == {"value": 6.0, "ci95": [found.lo, found.hi], "n": 2}
