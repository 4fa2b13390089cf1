"""The page on scale says what the result file says, and arithmetic on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import readme_results
import scale_pages

_ROOT = Path(__file__).parents[2]


def a_row(requests: int, seconds: float) -> dict[str, Any]:
    parts = {"ingest": 0.5, "find": 0.4, "cases": 0.5}
    return {
        "requests": requests,
        "days": 7,
        "seconds": seconds,
        "seconds_per_million": seconds / requests * 1e6,
        "bytes_of_log": 160 * requests,
        "bytes_of_store": 300 * requests,
        **{f"{name}_seconds": share * seconds for name, share in parts.items()},
        **{f"{name}_peak_gb": 1.25 for name in parts},
    }


def test_the_arithmetic_is_that_of_the_largest_world(tmp_path: Path) -> None:
    assert scale_pages.page_block(tmp_path) == scale_pages.NOT_YET
    rows = [a_row(1_000_000, 30.0), a_row(10_000_000, 360.0)]
    rows[0]["baselines"] = [{"baseline": "volume", "seconds_per_million": 1.5}]
    found = {"date": "2026-12-03T00:00:00+00:00", "commit": "abc", "machine": {"cpu": "a"}}
    (tmp_path / "watch_scale.json").write_text(json.dumps(found | {"rows": rows}))
    page = scale_pages.page_block(tmp_path)
    assert "are 12.0 times as many" in page
    assert "| the same for a million requests | 30.0 | 36.0 |" in page
    assert "| volume | 1.5 |" in page
    # 180 s of 10 million are 18,000 s of a billion, twice.
    assert (
        "Taking a day in: 5.0 hours" in page and "Together 10.0 hours, so 1 such machine " in page
    )
    assert "Disk: 300 GB a day in full text, 2.1 TB" in page


def test_the_page_that_is_committed_says_what_the_file_says() -> None:
    page = (_ROOT / "docs" / "scale-traffic.md").read_text(encoding="utf-8")
    assert readme_results.with_scale(page, _ROOT / "benchmarks" / "results") == page
