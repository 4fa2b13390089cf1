"""The reference page of cases says what the models say."""

from __future__ import annotations

from pathlib import Path

from potstill.watch.case.docs import cases_reference


def test_the_reference_page_is_up_to_date() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "cases.md"
    assert page.read_text(encoding="utf-8") == cases_reference(), "run: make docs"
