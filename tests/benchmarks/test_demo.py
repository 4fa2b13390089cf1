"""What is claimed of the demo, from rows that were put on record one by one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from demo import ROOT, claims_of, with_row

RECORDED = json.loads((ROOT / "benchmarks" / "results" / "demo.json").read_text(encoding="utf-8"))


def row(of: str, precision: str, seconds: float, cpu: str = "one") -> dict[str, Any]:
    """Return a row as it is put on record: recorded figures, and seconds of one's own."""
    found = json.loads(json.dumps(RECORDED["rows"][0]))
    found |= {"of": of, "precision": precision, "cpu": cpu, "seconds": seconds, "peak_memory_gb": 4}
    for number, stage in enumerate(("collection", "shrink", "training", "evaluation"), 1):
        found["cost"][stage]["seconds"] = seconds * number / 10
    return found


def test_rows_replace_their_forerunners_and_those_of_other_machines() -> None:
    rows = with_row(RECORDED["rows"] and [{"models": {}}], row("before", "bf16", 600))
    rows = with_row(rows, row("now", "fp32", 500))
    rows = with_row(rows, row("now", "bf16", 300))
    rows = with_row(rows, row("now", "fp32", 400))
    assert [(r["of"], r["precision"], r["seconds"]) for r in rows] == [
        ("now", "bf16", 300),
        ("now", "fp32", 400),
        ("before", "bf16", 600),
    ]
    assert with_row(rows, row("now", "bf16", 1, cpu="another")) == [
        row("now", "bf16", 1, "another")
    ]


def test_one_run_alone_is_not_compared() -> None:
    claims = claims_of([row("now", "fp32", 500)])
    assert claims["seconds"] == claims["seconds_fp32"] == {"value": 500, "unit": "s", "runs": 1}
    assert claims["evaluation_seconds_fp32"]["value"] == pytest.approx(200)
    assert not any("before" in name or "bf16" in name for name in claims)


def test_runs_are_compared_in_the_same_precision_whole_and_by_stage() -> None:
    slower = row("before", "bf16", 600)
    slower["cost"]["shrink"]["seconds"] = 30.0
    rows = [row("now", "bf16", 150), row("now", "fp32", 400), slower]
    claims = {name: one["value"] for name, one in claims_of(rows).items()}
    assert claims["seconds"] == claims["seconds_bf16"] == 150
    assert claims["seconds_vs_before_bf16"] == 0.25
    assert claims["shrink_seconds_vs_before_bf16"] == pytest.approx(1.0)
    assert claims["before_shrink_seconds_bf16"] == 30
    assert "seconds_vs_before_fp32" not in claims
    models = rows[0]["models"]
    assert claims["kl_student_vs_pruned_bf16"] == pytest.approx(
        models["student"]["kl_per_token"]["value"] / models["pruned"]["kl_per_token"]["value"]
    )
