"""How often the refusal and the repetition filter are right, on texts labelled by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from potstill.text.refusal import refuses
from potstill.text.repetition import repetition

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "methods" / "curate.md"


def counts(name: str, drops: Callable[[str], bool]) -> tuple[int, int, int, int]:
    """Return (true positives, false positives, false negatives, texts)."""
    lines = (HERE / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    texts = [json.loads(line) for line in lines]
    pairs = [(drops(row["text"]), row["positive"]) for row in texts]
    return (
        pairs.count((True, True)),
        pairs.count((True, False)),
        pairs.count((False, True)),
        len(pairs),
    )


@pytest.mark.parametrize(
    ("name", "drops", "precision", "recall"),
    [
        ("refusals", refuses, 0.95, 0.85),
        ("repetition", lambda text: repetition(text) is not None, 0.9, 0.9),
    ],
)
def test_precision_and_recall(
    name: str, drops: Callable[[str], bool], precision: float, recall: float
) -> None:
    right, wrong, missed, texts = counts(name, drops)
    assert right / (right + wrong) >= precision
    assert right / (right + missed) >= recall
    # The page states what this test finds, and nothing else.
    stated = re.search(
        rf"`{name}`: (\d+) texts, (\d+) of (\d+) dropped ones rightly, (\d+) of (\d+) found",
        PAGE.read_text(encoding="utf-8"),
    )
    assert stated is not None
    assert [int(figure) for figure in stated.groups()] == [
        texts,
        right,
        right + wrong,
        right,
        right + missed,
    ]
