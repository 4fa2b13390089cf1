"""The headline in words."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from potstill.report.run.headline import headline
from potstill.work.evaluation import Evaluation
from potstill.work.evaluation_file import evaluation_of


def test_headline_wording(evaluation: Evaluation) -> None:
    assert headline(evaluation) == (
        "The student has 107.1 million parameters, 79.6% of its teacher's 134.5 million. "
        "On 200 prompts kept out of training it agrees with the teacher on the likeliest next "
        "token 73.1% of the time (95% interval 72.3% to 73.9%) and is 0.28 nats a token away "
        "from it (KL divergence), 0.42 times what plain cutting leaves. "
        "Making it took 11 min 31 s, 0.019 USD of machine time and 1/5,900 of the arithmetic of "
        "training a model of this size from scratch (estimated)."
    )


def test_small_run_says_so(content: dict[str, Any]) -> None:
    content["held_out"]["prompts"] = 24
    assert headline(evaluation_of(content)).endswith(
        "Small run: 24 held-out prompts are too few to quote these figures; use at least 200."
    )


def test_existing_student_is_compared_with_itself_before(content: dict[str, Any]) -> None:
    del content["models"]["pruned"]
    assert "0.74 times what it was before training" in headline(evaluation_of(content))


def test_expensive_run_is_not_called_a_fraction(content: dict[str, Any]) -> None:
    content["cost"]["ratio_flops"] = 1.5
    assert "and 1.5 times the arithmetic" in headline(evaluation_of(content))


def test_what_was_not_measured_is_left_out(content: dict[str, Any]) -> None:
    content["models"] = {"student": content["models"]["student"] | {"top1_agreement": None}}
    content["differences"], content["training"] = {}, None
    found = headline(evaluation_of(content))
    assert found.startswith("The student has 107.1 million parameters. On 200 prompts kept out")
    assert "it gives the teacher's answers a perplexity of 4.10 (95% interval" in found
    assert "before training" not in found and "agrees" not in found


def test_headline_is_light() -> None:
    code = (
        "import sys, potstill.report.run.headline;"
        "print({'torch', 'jinja2', 'numpy'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "set()"
