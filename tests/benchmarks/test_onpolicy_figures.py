"""What rows of trainings claim: ratios over prompts and seeds, and where curves cross."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onpolicy_figures import claims_of, crossing, ratio, sums


def row(arm: str, seed: int, kl: Any, tokens: Any, **more: Any) -> dict[str, Any]:
    packed = {
        f"prompts_{text}_{name}": " ".join(str(v) for v in values)
        for text in ("own", "text")
        for name, values in (("kl", kl), ("tokens", tokens))
    }
    points = {"own_kl_at_points": 0.3, "curve": [{"seconds": 10.0, "own_kl": 0.4}]}
    return {"arm": arm, "seed": seed, "response_tokens": 100, "seconds": 20.0} | (
        points | packed | more
    )


def test_a_ratio_is_of_sums_over_tokens_and_pairs_seeds_and_prompts() -> None:
    draw = np.random.default_rng(0)
    kl = draw.uniform(1, 3, (3, 40))
    tokens = draw.integers(5, 60, (3, 40))
    rows = [row("off", s, kl[s], tokens[s]) for s in range(3)]
    rows += [row("on", s, 0.5 * kl[s], tokens[s]) for s in (2, 0, 1)]
    claims = claims_of(rows)
    # All of it is paired: half at every prompt is half in every resample.
    for name in ("reverse_kl_vs_off_policy", "teacher_text_vs_off_policy"):
        assert claims[name]["runs"] == 3
        for end in ("", "_low", "_high"):
            assert claims[name + end]["value"] == pytest.approx(0.5, abs=1e-4)
    assert claims["student_tokens_vs_off_policy"]["value"] == 1.0
    other = sums(rows[:3], "own")
    value, low, high = ratio(sums(rows[:3], "own")[:, ::-1], other)
    assert value == pytest.approx(1.0) and low < 1.0 < high


def test_seeds_that_differ_widen_the_interval() -> None:
    tokens = np.full((3, 50), 10)
    same = np.full((3, 50), 2.0)
    apart = same * np.array([[0.5], [1.0], [1.5]])
    rows = [row("off", s, same[s], tokens[s]) for s in range(3)]
    rows += [row("on", s, apart[s], tokens[s]) for s in range(3)]
    claims = claims_of(rows)
    assert claims["reverse_kl_vs_off_policy_low"]["value"] < 0.7
    assert claims["reverse_kl_vs_off_policy_high"]["value"] > 1.3


def test_curves_cross_where_the_first_stays_below() -> None:
    on = (np.array([0.0, 10.0, 20.0]), np.array([1.0, 0.8, 0.2]))
    off = (np.array([0.0, 10.0]), np.array([1.0, 0.5]))
    # From 10 s on 0.8 - 0.06 t against 0.5: at 15 s.
    assert crossing(on, off) == pytest.approx(15.0, abs=0.05)
    assert crossing(off, (on[0], np.array([1.0, 0.3, 0.2]))) is None
