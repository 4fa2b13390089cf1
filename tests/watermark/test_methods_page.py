"""The methods page says what the calibration's results say."""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULT = json.loads((ROOT / "benchmarks" / "results" / "calibration.json").read_text())
PAGE = (ROOT / "docs" / "methods" / "watermark.md").read_text()


def figures() -> dict[str, float]:
    return {name: claim["value"] for name, claim in RESULT["claims"].items()}


def test_p_values_hold_what_they_say() -> None:
    found = figures()
    assert found["ks_p_min"] > 0.01
    assert found["fpr_at_0.01"] < 0.0105
    assert found["levels_inside"] is True
    assert found["fpr_boilerplate_at_1e-3"] < 0.002
    assert found["fpr_boilerplate_per_document_at_1e-3"] > 0.05
    rows = [row for row in RESULT["rows"] if "levels" in row]
    assert len(rows) == 24
    assert all(row["trials"] == 20_000 for row in rows)


def test_the_page_has_the_same_figures() -> None:
    found = figures()
    for name in ("ks_p_min", "fpr_at_0.01", "fpr_boilerplate_at_1e-3"):
        assert f"| {found[name]:.2g} |" in PAGE, name
    assert f"| {found['fpr_boilerplate_per_document_at_1e-3']:.2g} |" in PAGE
    lowest = sorted(row["ks_p"] for row in RESULT["rows"] if "ks_p" in row)
    assert f"{lowest[0]:.2g}" in PAGE
