"""The word for a student: against Tango's interval, by enumeration, and by simulation."""

from __future__ import annotations

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from potstill.stats.equivalence import (
    compare,
    constrained_variance,
    prompts_needed,
    score_interval,
    word_for,
)

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def differences(better: int, worse: int, prompts: int) -> np.ndarray:
    return np.repeat([1.0, -1.0, 0.0], [better, worse, prompts - better - worse])


def tango_excess(better, worse, prompts, mean, z):
    """How far `mean` is from being contradicted from above: Tango 1998, equations 4 to 6."""
    a = 2 * prompts
    b = -better - worse + (2 * prompts - better + worse) * mean
    c = -worse * mean * (1 - mean)
    q = (np.sqrt(np.maximum(b * b - 4 * a * c, 0)) - b) / (2 * a)
    spread = prompts * np.maximum(2 * q + mean * (1 - mean), 0)
    return better - worse - prompts * mean - z * np.sqrt(spread)


@given(st.integers(2, 300), st.data())
@settings(max_examples=60, deadline=None)
def test_right_or_wrong_scores_have_tangos_interval(prompts, data):
    better = data.draw(st.integers(0, prompts))
    worse = data.draw(st.integers(0, prompts - better))
    z = stats.norm.ppf(0.975)
    low, high = score_interval(differences(better, worse, prompts))
    assert low <= (better - worse) / prompts <= high
    for end, (up, down) in ((low, (better, worse)), (-high, (worse, better))):
        if end > -1:
            assert abs(tango_excess(up, down, prompts, end, z)) < 1e-5 * prompts


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=30), st.floats(-0.9, 0.9))
@settings(max_examples=80, deadline=None)
def test_the_constrained_variance_is_that_of_a_distribution_with_that_mean(sample, mean):
    values, counts = np.unique(np.round(sample, 3), return_counts=True)
    variance = constrained_variance(values, counts.astype(float), mean)
    # A distribution on [-1, 1] with this mean has at most this variance.
    assert -1e-9 <= variance <= 1 - mean**2 + 1e-6


def test_at_the_measured_mean_the_variance_is_the_samples():
    sample = np.random.default_rng(1).uniform(-0.7, 0.5, 40)
    values, counts = np.unique(sample, return_counts=True)
    found = constrained_variance(values, counts.astype(float), float(sample.mean()))
    assert found == pytest.approx(sample.var(), rel=1e-6)


def test_the_interval_mirrors_and_narrows_with_prompts():
    sample = np.random.default_rng(2).uniform(-0.5, 0.4, 50)
    low, high = score_interval(sample)
    assert score_interval(-sample) == pytest.approx((-high, -low), abs=1e-9)
    low4, high4 = score_interval(np.tile(sample, 4))
    assert (high4 - low4) / (high - low) == pytest.approx(0.5, rel=0.1)
    assert score_interval(sample, 0.8)[0] > low


def test_no_difference_seen_is_not_no_difference():
    # The bootstrap alone would be [0, 0]; k = 0 of n has the score bound z^2 / (n + z^2).
    z2 = stats.norm.ppf(0.975) ** 2
    same = compare([1.0] * 100, [1.0] * 100, margin=0.03)
    assert (same.lo, same.hi) == pytest.approx((-z2 / (100 + z2), z2 / (100 + z2)))
    assert same.word == "inconclusive"
    assert same.needed is not None
    assert same.needed > 124
    assert compare([1.0] * 130, [1.0] * 130, margin=0.03).word == "not worse"


@pytest.mark.parametrize(
    ("lo", "hi", "word"),
    [
        (0.01, 0.02, "better"),
        (0.0, 0.02, "not worse"),
        (-0.029, 0.5, "not worse"),
        (-0.02, -0.01, "not worse"),
        (-0.03, 0.01, "inconclusive"),
        (-0.03, 0.0, "inconclusive"),
        (-0.03, -0.01, "worse"),
        (-0.5, -0.4, "worse"),
        (-0.5, 0.5, "inconclusive"),
    ],
)
def test_the_first_word_that_holds_is_said(lo, hi, word):
    assert word_for(lo, hi, 0.03) == word


def test_sentences():
    rng = np.random.default_rng(3)
    teacher = (rng.random(400) < 0.8).astype(float)
    worse = teacher * (rng.random(400) < 0.7)
    assert compare(worse, teacher, margin=0.03).sentence == "worse"
    assert compare(teacher, worse, margin=0.03).sentence == "better"
    assert compare(teacher, teacher, margin=0.03).sentence == "not worse within 0.03"
    unsure = compare(teacher[:30], teacher[30:60], margin=0.03)
    assert unsure.sentence == f"inconclusive ({unsure.needed:,} prompts would decide)"


def test_the_number_of_prompts_is_that_of_the_normal_formula():
    sample = differences(20, 20, 200)
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    spread = max(sample.var(ddof=1), constrained_variance(*_counted(sample), -0.03))
    assert prompts_needed(sample, 0.03) == math.ceil(z**2 * spread / 0.03**2)
    # The student looks worse than the margin: what would show that counts.
    low = differences(2, 20, 200)
    spread = max(low.var(ddof=1), constrained_variance(*_counted(low), -0.03))
    assert prompts_needed(low, 0.03) == max(201, math.ceil(z**2 * spread / 0.09**2))
    assert prompts_needed(differences(0, 0, 50), 0.0) is None


def _counted(sample):
    values, counts = np.unique(sample, return_counts=True)
    return values, counts.astype(float)


def test_the_number_of_prompts_decides_about_as_often_as_it_says():
    rng = np.random.default_rng(4)
    needed = prompts_needed(differences(5, 5, 200), 0.03)
    assert needed is not None
    said = 0
    for _ in range(200):
        chance = rng.random(needed)
        low, high = score_interval(1.0 * (chance < 0.025) - 1.0 * (chance > 0.975))
        said += word_for(low, high, 0.03) != "inconclusive"
    assert 0.7 <= said / 200 <= 0.95


def test_order_of_prompts_and_seed():
    rng = np.random.default_rng(5)
    student, teacher = rng.random(60), rng.random(60)
    found = compare(student, teacher, margin=0.1, seed=1)
    assert found == compare(student, teacher, margin=0.1, seed=1)
    assert found.n == 60
    assert found.difference == pytest.approx(student.mean() - teacher.mean())
    wide = compare(student, teacher, margin=0.1, confidence=0.99)
    assert wide.lo < found.lo < found.hi < wide.hi


@pytest.mark.parametrize(
    ("student", "teacher", "changes", "message"),
    [
        ([1.0], [1.0, 0.0], {}, "same prompts"),
        ([], [], {}, "at least one"),
        ([1.5], [1.0], {}, r"\[0, 1\]"),
        ([float("nan")], [1.0], {}, r"\[0, 1\]"),
        ([1.0], [1.0], {"margin": 1.0}, "margin"),
        ([1.0], [1.0], {"confidence": 1.0}, "confidence"),
        ([1.0], [1.0], {"resamples": 1999}, "at least 2000"),
    ],
)
def test_impossible_input_is_refused(student, teacher, changes, message):
    with pytest.raises(ValueError, match=message):
        compare(student, teacher, **({"margin": 0.03} | changes))


def test_one_prompt_says_nothing():
    assert compare([1.0], [0.0], margin=0.03).word == "inconclusive"


# How often the words are wrong


def chance_of_not_worse(prompts: int, up: float, margin: float) -> float:
    """Return, by enumeration, how often the score interval alone says it where it is false."""
    z = stats.norm.ppf(0.975)
    down = up + margin
    total = 0.0
    for worse in range(prompts + 1):
        better = np.arange(prompts - worse + 1)
        said = tango_excess(better, worse, prompts, -margin, z) > 0
        weights = stats.binom.pmf(better, prompts - worse, up / (1 - down))
        total += stats.binom.pmf(worse, prompts, down) * weights[said].sum()
    return float(total)


@pytest.mark.parametrize("up", [0.0, 0.02, 0.1, 0.2])
@pytest.mark.parametrize("prompts", [100, 200, 400])
def test_not_worse_is_false_in_at_most_a_fortieth_of_cases_exactly(prompts, up):
    # Two-sided 95%: 0.025 a side; lattices overshoot it by a tenth at most.
    assert chance_of_not_worse(prompts, up, 0.03) <= 0.0275


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rates", BENCHMARKS / "equivalence_rates.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def highest(rate: float, trials: int) -> float:
    """Return what a binomial share stays below in 999 of 1,000 cases."""
    return float(stats.binom.ppf(0.999, trials, rate)) / trials


@pytest.mark.parametrize("population", ["one-sided", "few differ", "many differ"])
def test_not_worse_is_rarely_said_at_the_margin(simulation, population):
    found = simulation.rates(population, 200, -simulation.MARGIN, trials=300, seed=6)
    assert found["better"] + found["not worse"] <= highest(0.025, 300)


@pytest.mark.slow
@pytest.mark.parametrize("population", ["one-sided", "few differ", "many differ", "partial scores"])
def test_every_word_is_wrong_as_rarely_as_it_says(simulation, population):
    at_margin = simulation.rates(population, 200, -simulation.MARGIN, trials=600, seed=7)
    assert at_margin["better"] + at_margin["not worse"] <= highest(0.025, 600)
    if population != "one-sided":
        equal = simulation.rates(population, 200, 0.0, trials=600, seed=8)
        assert equal["better"] <= highest(0.025, 600)
        assert equal["worse"] <= highest(0.025, 600)


def test_the_recorded_rates_hold_and_show_why_the_bootstrap_is_not_enough():
    record = json.loads((BENCHMARKS / "equivalence_rates.json").read_text())
    trials = record["trials"]
    for row in record["records"]:
        wrong = ["better", "not worse"] if row["truth"] < 0 else ["better"]
        assert sum(row[word] for word in wrong) <= highest(0.025, trials), row
        assert row["coverage"] >= 0.94, row
    assert max(r["bootstrap_alone_better_or_not_worse"] for r in record["records"][:12]) > 0.03
