"""The headline in words, and the limits that go with it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from potstill.report.headline import headline
from potstill.report.limits import limits


def test_headline_wording(evaluation: dict[str, Any]) -> None:
    assert headline(evaluation) == (
        "The student has 107.1 million parameters, 79.6% of its teacher's 134.5 million. "
        "On 200 prompts kept out of training it agrees with the teacher on the likeliest next "
        "token 73.1% of the time (95% interval 72.3% to 73.9%) and is 0.28 nats a token away "
        "from it (KL divergence), 0.42 times what plain cutting leaves. "
        "Making it took 11 min 31 s, 0.019 USD of machine time and 1/5,900 of the arithmetic of "
        "training a model of this size from scratch (estimated)."
    )


def test_small_run_says_so(evaluation: dict[str, Any]) -> None:
    evaluation["held_out"]["prompts"] = 24
    assert headline(evaluation).endswith(
        "Small run: 24 held-out prompts are too few to quote these figures; use at least 200."
    )
    assert limits(evaluation)[0].startswith("Small run: 24")


def test_existing_student_is_compared_with_itself_before(evaluation: dict[str, Any]) -> None:
    del evaluation["models"]["pruned"]
    assert "0.74 times what it was before training" in headline(evaluation)


def test_expensive_run_is_not_called_a_fraction(evaluation: dict[str, Any]) -> None:
    evaluation["cost"]["ratio_flops"] = 1.5
    assert "and 1.5 times the arithmetic" in headline(evaluation)


def test_missing_parts_are_left_out() -> None:
    assert headline({}) == ""
    assert headline({"models": {"teacher": {"params": 10}, "student": {"params": 5}}}) == (
        "The student has 5 parameters, 50.0% of its teacher's 10."
    )


def test_limits_follow_the_run(evaluation: dict[str, Any]) -> None:
    text = " ".join(limits(evaluation))
    assert "20,000 of 49,152 tokens" in text
    assert "at most 96 tokens" in text
    assert "trained on the teacher's text alone" in text
    assert "Energy was not measured" in text
    assert "greedy text was not measured" not in text
    evaluation["models"]["cross_entropy"] = evaluation["models"]["student"]
    evaluation["models"]["student"]["greedy"] = None
    evaluation["vocabulary"] = None
    evaluation["overlap"] = None
    evaluation["cost"]["total"]["joules"] = 5.0
    text = " ".join(limits(evaluation))
    assert "tokens, chosen" not in text
    assert "text alone" not in text
    assert "CPU packages only" in text
    assert "greedy text was not measured" in text
    assert "was not checked" in text


def test_headline_is_light() -> None:
    code = "import sys, potstill.report.headline; print({'torch', 'jinja2'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "set()"
