"""The pages of a verdict in a real browser: whole at any width, quiet, and deaf to the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bundles
import pytest

from potstill.report.verdict.pages import verdict_pages
from potstill.trace.verdict import ControlFigure


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", ["report.html", "notice.html"])
def test_a_page_fits_its_window_and_asks_nothing(
    browser: Any, tmp_path: Path, name: str, width: int
) -> None:
    made = bundles.finished(tmp_path / "one", marked=0.9)
    figures = [("a base", 0.5, 0.4, 0.6), ("a model with a name that is long", 0.49, 0.3, 0.7)]
    controls = tuple(
        ControlFigure(
            test="watermark-text", configuration="2026-12", name=who, effect=e, low=low, high=high
        )
        for who, e, low, high in figures
    )
    verdict = made.verdict.model_copy(update={"controls": controls})
    path = tmp_path / name
    path.write_bytes(dict(verdict_pages(made.fixed, verdict))[name])
    seen = browser.open(path, width=width)
    assert seen.complaints == []
    assert [url for url in seen.requests if url not in (path.as_uri(), "data:,")] == []
    # A digest is longer than a small window is wide.
    assert made.fixed.digest in seen.text and seen.overflow <= 0
    assert browser.evaluate(CUT_OFF) == []


# Text that stands beyond its own block, but where a reader can scroll to it.
CUT_OFF = """
[...document.querySelectorAll('main p, main li, main td, main th, main dd, main h1, main h2')]
  .filter(e => e.scrollWidth > e.clientWidth + 1 && !e.closest('pre'))
  .map(e => e.tagName + ' ' + e.textContent.trim().slice(0, 60))
"""
