"""What is said of the student against its baselines."""

from __future__ import annotations

from typing import Any

from potstill.report.run.fidelity import differences
from potstill.work.evaluation_file import evaluation_of


def test_differences_say_who_is_closer(content: dict[str, Any]) -> None:
    def say(low: float, high: float) -> str:
        figure = {"value": (low + high) / 2, "ci95": [low, high], "n": 200}
        content["differences"] = {"student_minus_untrained_kl": figure}
        return differences(evaluation_of(content))[0]

    assert say(-0.2, -0.1).endswith("(95% interval −0.200 to −0.100): the student is closer to "
                                    "the teacher.")  # fmt: skip
    assert say(0.1, 0.2).endswith("further from the teacher.")
    assert say(-0.1, 0.2).endswith("no difference beyond chance.")


def test_own_text_is_told_of_both_students(content: dict[str, Any]) -> None:
    assert not any("writes itself" in text for text in differences(evaluation_of(content)))
    for name, value in (("student", 0.25), ("untrained", 0.5)):
        figure = {"value": value, "ci95": [value - 0.1, value + 0.1], "n": 40}
        content["models"][name]["own_kl_per_token"] = figure
    ratio = {"value": 0.5, "ci95": [0.4, 0.6], "n": 40}
    content["differences"] = {"student_over_untrained_own_kl": ratio}
    (told,) = (text for text in differences(evaluation_of(content)) if "writes itself" in text)
    assert "0.250 (95% interval 0.150 to 0.350)" in told
    assert "untrained one 0.500" in told
    assert told.endswith("ratio 0.500 (95% interval 0.400 to 0.600).")
