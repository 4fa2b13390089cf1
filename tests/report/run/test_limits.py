"""What a run did not measure, said of those runs that it holds for."""

from __future__ import annotations

from typing import Any

from potstill.report.run.limits import limits
from potstill.work.evaluation import Evaluation
from potstill.work.evaluation_file import evaluation_of


def test_limits_follow_the_run(content: dict[str, Any]) -> None:
    text = " ".join(limits(evaluation_of(content)))
    assert "20,000 of 49,152 tokens" in text
    assert "at most 96 tokens" in text
    assert "trained on the teacher's text alone" in text
    assert "Energy was not measured" in text
    assert "greedy text was not measured" not in text
    content["models"]["cross_entropy"] = content["models"]["student"]
    content["models"]["student"]["greedy"] = None
    content["vocabulary"] = None
    content["cost"]["total"]["joules"] = 5.0
    text = " ".join(limits(evaluation_of(content)))
    assert "tokens, chosen" not in text
    assert "text alone" not in text
    assert "CPU packages only" in text
    content["machine"]["accelerator"] = "A GPU"
    assert "CPU packages only" in " ".join(limits(evaluation_of(content)))
    content["machine"]["packages"]["zeus"] = "0.16.0"
    assert "CPU packages and the GPU, with" in " ".join(limits(evaluation_of(content)))
    assert "greedy text was not measured" in text


def test_a_small_run_says_so_first(content: dict[str, Any]) -> None:
    content["held_out"]["prompts"] = 24
    assert limits(evaluation_of(content))[0].startswith("Small run: 24")


def test_without_the_teachers_weights_that_is_the_limit(content: dict[str, Any]) -> None:
    del content["models"]["teacher"]
    content["models"]["student"]["greedy"] = None
    text = " ".join(limits(evaluation_of(content)))
    assert "The teacher's weights were not at hand" in text
    assert "greedy" not in text and "text alone" not in text
    text = " ".join(limits(evaluation_of(content | {"answers": "gold"})))
    assert "there is none to compare the student with" in text


def test_a_task_is_no_longer_untested(evaluation: Evaluation, content: dict[str, Any]) -> None:
    assert "No task, no fact and no safety" in " ".join(limits(evaluation))
    estimate = {"value": 0.5, "ci95": None, "n": 1}
    content["task"] = {
        "kind": "text", "n": 1, "score": None, "student": {"readable": estimate}, "slices": [],
    }  # fmt: skip
    assert "is right. No fact and no safety" in " ".join(limits(evaluation_of(content)))
