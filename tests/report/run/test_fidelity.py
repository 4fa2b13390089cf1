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
