"""What the zoo's summary says of findings: whom it calls accused, and by how much of the log."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, gamma

_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
_GREEN = {"scheme": "green", "window": 1, "gamma": 0.5, "delta": 2.0}
_GUMBEL = {"scheme": "gumbel", "window": 1}
_DIGEST = "0" * 64


@pytest.fixture(scope="module")
def figures() -> ModuleType:
    return _module("figures")


@pytest.fixture(scope="module")
def curves() -> ModuleType:
    return _module("curves")


def _module(name: str) -> ModuleType:
    before = list(sys.path)
    sys.path.insert(0, str(_BENCHMARKS / "zoo"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = before


def _row(name: str, tests: dict[str, float | None], **facts: Any) -> dict[str, Any]:
    """Return a row with these log10 p; None stands for a test that was left out."""
    tiers = {"weights": "descent", "order": "descent", "agreement": "support"}
    found = {
        test: {"left_out": "another tokenizer"}
        if log10_p is None
        else {
            "finding": {
                "log10_p": log10_p,
                "p": 10**log10_p,
                "void": None,
                "effect": 0.5,
                "tier": tiers.get(test, "proof"),
            }
        }
        for test, log10_p in tests.items()
    }
    base = {"kind": "text of a corpus", "claims": [], "served": "green", "share": 0.0, "epoch": 3}
    flags = {"headline": False, "indirect": False, "innocent": True}
    return {"name": name, "tests": found, **base, **flags, **facts}


def test_a_test_pays_for_its_configurations_and_an_accusation_for_all_that_accuse(
    figures: ModuleType,
) -> None:
    """p 4e-5 in one of two schemes is 8e-5 for the test, and 1.6e-4 among four configurations."""
    tests = {"watermark-text green": math.log10(4e-5), "watermark-text gumbel": 0.0}
    row = _row("one", {**tests, "twins plain": 0.0, "twins green": 0.0, "agreement": -40.0})
    text = figures.counted([row], frozenset({"watermark-text"}))
    assert (text["value"], text["times"], text["who"]) == (1, 2, ["one"])
    assert 10 ** text["least_log10_p"] == pytest.approx(8e-5)
    every = figures.counted([row], figures.ACCUSING)
    assert (every["value"], every["times"]) == (0, 4)


def test_what_accuses_nobody_is_never_counted(figures: ModuleType) -> None:
    quiet = {"watermark-text green": -0.3, "twins plain": -0.1}
    row = _row("kin", {**quiet, "weights": -30.0, "order": -3.0, "agreement": -90.0})
    assert figures.counted([row], figures.ACCUSING)["value"] == 0
    planned = figures.configurations([row])
    assert figures.called(row, planned) == ["derived weights"]
    kin = row | {"kind": "pruned copy of the teacher", "claims": ["descent", "weights"]}
    (told,) = figures.ancestry([kin])
    assert told["called"] == ["derived weights"]
    assert told["told"]["weights"] == {"tier": "descent", "log10_p": -30.0, "effect": 0.5}
    relative = _row("sibling", {"agreement": -9.0}, claims=["weights"])
    other = _row("other", {"agreement": -1.0})
    assert figures.resembling([row, relative, other])["who"] == ["kin"]
    row["tests"]["agreement"]["finding"]["void"] = "too few clusters"
    counted = figures.resembling([row, relative, other])
    assert (counted["value"], counted["runs"], counted["void"]) == (0, 2, 1)


def test_a_test_that_was_left_out_is_paid_for_by_those_that_were_not(figures: ModuleType) -> None:
    names = ("watermark-reading green", "watermark-text green")
    whole = _row("whole", dict.fromkeys(names, -0.1))
    other = _row("other", {names[0]: None, names[1]: math.log10(6e-5)})
    planned = figures.configurations([whole, other])
    assert figures.least(other, figures.ACCUSING, planned) == pytest.approx(math.log10(1.2e-4))


def test_void_findings_accuse_nobody(figures: ModuleType) -> None:
    row = _row("void", {"twins plain": -9.0})
    row["tests"]["twins plain"]["finding"]["void"] = "clean models are ranked too"
    assert figures.counted([row], figures.ACCUSING)["value"] == 0


@pytest.mark.parametrize("n", [1, 44, 52])
def test_zero_of_n_is_bounded_by_what_would_be_seen_one_time_in_twenty(
    figures: ModuleType, n: int
) -> None:
    assert (1 - figures.zero_of(n)) ** n == pytest.approx(0.05)


def test_claims_take_last_epochs_of_direct_students_alone(figures: ModuleType) -> None:
    facts = {"innocent": False, "claims": ["outputs"]}
    name = "watermark-reading green"

    def student(who: str, kind: str, share: float, epoch: int) -> dict[str, Any]:
        return _row(who, {name: -20.0 - epoch}, kind=kind, share=share, epoch=epoch, **facts)

    rows = [
        *(student(f"full {e}", "green, 100% marked", 1.0, e) for e in (1, 2, 3)),
        student("five", "green, 5% marked", 0.05, 3),
        student("tuned", "fine-tuned on clean text afterwards", 1.0, 3),
    ]
    assert [row["name"] for row in figures.marked(rows, 1.0)] == ["full 3"]
    assert [row["name"] for row in figures.marked(rows, 0.05)] == ["five"]
    assert [row["name"] for row in figures.learnt_all(rows, "green")] == ["full 3"]
    pairs = [(row, name) for row in figures.marked(rows, 1.0)]
    claim = figures.greatest(pairs, figures.configurations(rows), 1e-12)
    assert claim["reached"]
    assert claim["log10"] == -23.0
    claim = figures.greatest(pairs, {"watermark-reading": 100}, 1e-22)
    assert (claim["reached"], claim["log10"]) == (False, -21.0)


def test_no_suspect_reaches_nothing(figures: ModuleType) -> None:
    claim = figures.greatest([], {}, 1e-3)
    assert claim["value"] is None


def test_power_is_told_by_kind_and_epoch(figures: ModuleType) -> None:
    rows = [
        _row(str(i), {"twins plain": p}, kind="unmarked answers", epoch=1 + i // 2)
        for i, p in enumerate((-1.0, -9.0, -5.0, -7.0))
    ]
    first, last = figures.power(rows)
    assert (first["epoch"], first["median_log10_p"], first["found"]) == (1, -5.0, 0.5)
    assert (last["epoch"], last["median_log10_p"], last["found"]) == (2, -6.0, 1.0)


def test_power_keeps_marks_apart_where_a_kind_names_none(figures: ModuleType) -> None:
    kind = "another tokenizer"
    rows = [
        _row(f"{kind} {mark}", {"twins plain": -1.0}, kind=kind, served=mark, share=1.0)
        for mark in ("green", "gumbel")
    ]
    rows.append(_row("g", {"twins plain": -2.0}, kind="green, 5% marked", share=0.05))
    kinds = [one["kind"] for one in figures.power(rows)]
    assert kinds == [f"{kind} (green)", f"{kind} (gumbel)", "green, 5% marked"]


def test_scores_for_a_target_are_none_at_chance_and_fewer_for_more(curves: ModuleType) -> None:
    for mark, chance, more in ((_GREEN, 0.5, 0.52), (_GUMBEL, 1.0, 1.1)):
        assert curves.scores_for(mark, chance, 5e-4) is None
        some, fewer = (curves.scores_for(mark, mean, 5e-4) for mean in (more, 2 * more - chance))
        assert some > fewer > 0
    # z of 3.29 at 5e-4 and of 0.84 at 80%: ((3.29 + 0.84) * 0.5 / 0.02)^2.
    assert curves.scores_for(_GREEN, 0.52, 5e-4) == pytest.approx(10_660, rel=0.01)


@pytest.mark.parametrize(
    ("stops", "flag"), [(0.44, True), (0.45, False), (0.0, True), (None, None)]
)
def test_models_that_seldom_end_are_flagged(
    figures: ModuleType, stops: float | None, flag: bool | None
) -> None:
    assert figures.degraded(stops, 0.9) is flag


def _reading(scores: Sequence[Sequence[float]]) -> list[dict[str, Any]]:
    return [
        {"index": i, "outcome": "answered", "choices": [7] * len(one), "scores": list(one)}
        for i, one in enumerate(scores)
    ]


@given(
    st.lists(st.lists(st.sampled_from([0.0, 1.0]), min_size=1, max_size=9), min_size=4, max_size=9)
)
def test_a_reading_cut_short_is_the_binomial_of_its_first_texts(scores: list[list[float]]) -> None:
    found = _module("curves").again(
        "watermark-reading green", _reading(scores), _GREEN, _DIGEST, 0.5
    )
    kept = [score for one in scores[: round(len(scores) / 2)] for score in one]
    assert found.n == len(kept)
    assert 10**found.log10_p == pytest.approx(binom.sf(sum(kept) - 1, len(kept), 0.5))


def test_a_whole_curve_ends_with_the_whole_logs_figure(curves: ModuleType) -> None:
    rng = np.random.default_rng(5)
    scores = [rng.gamma(1.6, 1, 20).tolist() for _ in range(64)]
    points = curves.curve("watermark-reading gumbel", _reading(scores), _GUMBEL, _DIGEST)
    assert [point["n"] for point in points] == [80, 160, 320, 640, 1280]
    total = sum(map(sum, scores))
    assert points[-1]["log10_p"] == pytest.approx(gamma.logsf(total, 1280) / math.log(10))


def _answers(prompts: int, samples: int) -> list[dict[str, Any]]:
    """Return answers of four tokens; those to one prompt are alike, and all that they say green."""
    return [
        {
            "index": sample * prompts + prompt,
            "outcome": "answered",
            "prompt": prompt,
            "sample": sample,
            "text": "x",
            "ids": [4 * prompt + j for j in range(4)],
            "scores": [1.0] * 3,
        }
        for sample in range(samples)
        for prompt in range(prompts)
    ]


def test_text_cut_short_has_fewer_prompts_each_asked_as_often(curves: ModuleType) -> None:
    points = curves.curve("watermark-text green", _answers(16, 2), _GREEN, _DIGEST)
    assert [point["n"] for point in points] == [3, 6, 12, 24, 48]
    assert points[0]["log10_p"] == pytest.approx(3 * math.log10(0.5))


def test_twins_cut_short_rank_the_first_exchanges(curves: ModuleType) -> None:
    log = [
        {
            "index": i,
            "outcome": "answered",
            "texts": [f"{i} {j}" for j in range(3)],
            "tokens": [5, 5, 5],
            "suspect_logp": [-1.0, -2.0, -3.0],
            "reference_logp": [-2.0, -2.0, -2.0],
        }
        for i in range(16)
    ]
    points = curves.curve("twins plain", log, {}, _DIGEST)
    assert [point["n"] for point in points] == [1, 2, 4, 8, 16]
    assert points[-1]["log10_p"] == pytest.approx(-16 * math.log10(3))


def test_tests_without_a_curve_have_none(curves: ModuleType) -> None:
    assert curves.curve("order", [{}], {}, _DIGEST) == []


def test_the_size_that_reaches_a_target_goes_on_as_the_curve_does(curves: ModuleType) -> None:
    straight = [{"share": share, "log10_p": -8 * share} for share in curves.SHARES]
    assert curves.share_for(straight, -12.0) == pytest.approx(1.5)
    assert curves.share_for(straight, -3.0) == 0.5
    root = [{"share": share, "log10_p": -4 * share**0.5} for share in curves.SHARES]
    assert curves.share_for(root, -12.0) == pytest.approx(9)
    flat = [{"share": share, "log10_p": 0.0} for share in curves.SHARES]
    assert curves.share_for(flat, -3.0) is None
    falling = [{"share": share, "log10_p": -1 + share / 2} for share in curves.SHARES]
    assert curves.share_for(falling, -3.0) is None


def test_answers_that_end_by_themselves_are_counted_among_all_questions(
    curves: ModuleType,
) -> None:
    log = [
        {"outcome": "answered", "ids": [5, 2]},
        {"outcome": "answered", "ids": [2, 5]},
        {"outcome": "empty", "ids": []},
        {"outcome": "answered", "ids": [2]},
    ]
    assert curves.stop_rate(log, 2) == 0.5
