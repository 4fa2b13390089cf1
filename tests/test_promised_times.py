"""What pages promise of time is within a factor of 1.5 of what was measured."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def rows(name: str) -> list[dict[str, Any]]:
    found = json.loads((ROOT / f"benchmarks/results/{name}.json").read_text(encoding="utf-8"))
    return list(found["rows"])


def demo() -> float:
    return float(rows("demo")[0]["cost"]["total"]["seconds"]) / 60


def every_recipe() -> list[float]:
    return [row["cost"]["total"]["seconds"] / 60 for row in rows("recipes")]


def searched(share: float) -> float:
    """One search went down from the whole teacher, from share to share."""
    found = [row for row in rows("task_sizes") if "seconds_searching" in row]
    return sum(row["seconds_searching"] for row in found if row["share"] >= share) / 60


@pytest.mark.parametrize(
    ("page", "promise", "measured"),
    [
        ("docs/how-to/first-distillation.md", r"takes about (6) minutes on two cores", demo()),
        ("src/potstill/data/recipes/demo.yaml", r"set by the (6) minutes", demo()),
        ("recipes/demo_all.py", r"at most (ten) minutes on two cores", max(every_recipe())),
        ("Makefile", r"print one table \(about (35) minutes\)", sum(every_recipe())),
        ("Makefile", r"with results written \(about (35) minutes\)", sum(every_recipe())),
        (
            "docs/how-to/first-distillation.md",
            r"(2) minutes down to a share of 0.75",
            searched(0.75),
        ),
        ("docs/how-to/first-distillation.md", r"(3.3) to 0.6", searched(0.6)),
        ("docs/how-to/first-distillation.md", r"and (6) to 0.3", searched(0.3)),
        (
            "Makefile",
            r"How small a routing student may be, after bench-recipes \(about (25) minutes\)",
            sum(row["seconds"] for row in rows("task_sizes") if "seconds" in row) / 60,
        ),
    ],
)
def test_a_promise_holds(page: str, promise: str, measured: float) -> None:
    said = re.search(promise, (ROOT / page).read_text(encoding="utf-8"))
    assert said is not None, f"{page} has no {promise}"
    minutes = 10.0 if said[1] == "ten" else float(said[1])
    assert minutes / 1.5 <= measured <= minutes * 1.5
