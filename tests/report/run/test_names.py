"""What models are called, and what figures lack."""

from __future__ import annotations

from typing import Any

import pytest

from potstill.report.run.names import (
    kept_untrained,
    left_out,
    measured_models,
    measured_students,
    model_name,
)
from potstill.work.evaluation_file import evaluation_of


def test_models_that_were_measured_stand_in_one_order(content: dict[str, Any]) -> None:
    models = evaluation_of(content).models
    assert list(measured_models(models)) == ["teacher", "pruned", "untrained", "student"]
    assert list(measured_students(models)) == ["pruned", "untrained", "student"]


@pytest.mark.parametrize(
    ("pruned", "heal", "name"),
    [
        (True, "cascade", "Cut and healed, untrained"),
        (True, "none", "Cut, untrained"),
        (False, "cascade", "Before training"),
    ],
)
def test_a_student_is_called_what_was_done_to_it(
    content: dict[str, Any], pruned: bool, heal: str, name: str
) -> None:
    content["shrink"]["heal"] = heal
    if not pruned:
        del content["models"]["pruned"]
    assert model_name("untrained", evaluation_of(content)) == name
    assert model_name("student", evaluation_of(content)) == "Student"


def test_training_on_text_that_changed_nothing_is_in_the_name(content: dict[str, Any]) -> None:
    assert model_name("cross_entropy", evaluation_of(content)) == "Trained on text alone"
    content["training"] |= {"cross_entropy_kept_step": 0, "kept_step": 0}
    evaluation = evaluation_of(content)
    assert model_name("cross_entropy", evaluation).endswith(", no better: as before")
    assert kept_untrained(evaluation)


def test_what_a_figure_lacks_is_counted_by_reason() -> None:
    assert left_out({}) == left_out({"too_long": 0}) == ""
    assert left_out({"no_answer": 1_000, "odd_one": 1, "empty": 0}) == (
        "1,001 more left out: 1,000 without an answer, 1 odd one"
    )
