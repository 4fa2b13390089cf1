"""The rule for the defaults, and that recipe and pages say what it chose on the committed rows."""

from __future__ import annotations

import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from potstill.recipe import WatermarkConfig

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from watermark_rule import Judged, chosen, claims_of, judged

ROOT = Path(__file__).parents[2]
RESULT = json.loads((ROOT / "benchmarks" / "results" / "watermark_power.json").read_text())
ONE = Judged("green", 2, 0.5, 1.0, tokens=300, cost=0.05, student=0.05, shown=-50)


def test_what_costs_too_much_or_needs_much_text_is_not_chosen() -> None:
    dear = replace(ONE, shown=-99, cost=0.11)
    far = replace(ONE, shown=-99, student=0.11)
    long = replace(ONE, shown=-99, tokens=1001)
    never = replace(ONE, shown=-99, tokens=math.inf)
    assert chosen([dear, ONE, far, long, never]) is ONE
    with pytest.raises(ValueError, match="within the limits"):
        chosen([dear, far, long])


def test_what_a_student_shows_most_is_chosen() -> None:
    less = replace(ONE, tokens=10, cost=0.01, shown=-49)
    more = replace(ONE, tokens=1000, cost=0.1, student=0.1, shown=-51)
    assert chosen([less, ONE]) is ONE
    assert chosen([less, ONE, more]) is more


def row(teacher: str, **figures: Any) -> dict[str, Any]:
    mark = {"scheme": "green", "window": 2, "gamma": 0.5, "delta": 1.0}
    return {"teacher": teacher, "top_p": 1.0, "perplexity_expected_more": 0.05, **mark} | figures


def test_a_setting_is_judged_by_both_teachers_and_a_student() -> None:
    student = {"student": "nats-2", "learnt": "draws", "scheme": "green", "window": 2}
    student |= {"gamma": 0.5, "delta": 1.0, "reading": {"log10_p": [-3.0, -6.0]}}
    student["text"] = {"temperature 1": {"log10_p": [-8.0, -7.0]}, "lower": {"log10_p": [-2.0]}}
    plain = {"student": "nats-2", "scheme": None}
    rows = [
        row("nats-2", **{"tokens_for_1e-6": 100}),
        row("smollm2", **{"tokens_for_1e-6": 400, "perplexity_expected_more": 0.08}),
        row("smollm2", **{"tokens_for_1e-6": 1, "top_p": 0.9}),
        row("nats-2", **{"tokens_for_1e-6": 1, "window": 3}),
        plain | {"learnt": "text", "kl": 0.2},
        plain | {"learnt": "draws", "kl": 0.1},
        student | {"kl": 0.17},
        student | {"learnt": "text", "kl": 0.5},
        student | {"window": 3, "kl": 0.1},
    ]
    (found,) = judged(rows)
    assert (found.window, found.tokens) == (2, 400)
    assert found.cost == pytest.approx(math.log(1.08))
    assert found.student == pytest.approx(0.07)
    assert found.shown == -7
    rows[0]["tokens_for_1e-6"] = None
    assert judged(rows)[0].tokens == math.inf


def test_the_defaults_are_what_the_rule_chose() -> None:
    best, mark = chosen(judged(RESULT["rows"])), WatermarkConfig(key="a.key")
    assert (mark.scheme, mark.window) == (best.scheme, best.window)
    assert (mark.gamma, mark.delta) == (best.gamma, best.delta)
    assert RESULT["claims"] == claims_of(RESULT["rows"])
