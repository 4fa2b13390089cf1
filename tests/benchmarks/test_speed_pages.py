"""The pages on speed and on minutes say what the result files say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import readme_results
import speed_pages

_ROOT = Path(__file__).parents[2]


def _written(folder: Path, name: str, claims: dict[str, float], rows: list[dict[str, Any]]) -> None:
    told = {key: {"value": value, "unit": "ratio", "runs": 1} for key, value in claims.items()}
    machine = {"cpu": "some CPU", "cores": 2, "compute_dtype": "bfloat16"}
    found = {"date": "2026-12-02T00:00:00", "commit": "abc", "machine": machine}
    text = json.dumps(found | {"claims": told, "rows": rows})
    (folder / f"{name}.json").write_text(text, encoding="utf-8")


def test_the_pages_are_those_of_the_committed_files() -> None:
    for name, written in (
        ("how-to/minutes.md", readme_results.with_minutes),
        ("speed.md", readme_results.with_speed),
    ):
        page = (_ROOT / "docs" / name).read_text(encoding="utf-8")
        assert written(page, _ROOT / "benchmarks" / "results") == page


def test_each_run_with_minutes_has_a_line(tmp_path: Path) -> None:
    def row(minutes: float | None, busy: bool, seconds: float) -> dict[str, Any]:
        used = seconds / (60 * minutes) if minutes else None
        told = {"kl": {"value": 0.3}, "top1_agreement": {"value": 0.715}}
        row = {"minutes": minutes, "busy": busy, "seconds": seconds, "used": used, "steps": 40}
        return row | told | {"estimate": 150.0, "held_out": 200}

    rows = [row(10, False, 570.0), row(3, True, 168.0), row(3, False, 162.0), row(None, False, 300)]
    claims = {"overshoot_max": 0.004, "used_min": 0.9, "estimate_error_max": 0.07}
    _written(tmp_path, "minutes", claims, rows)
    lines = speed_pages.minutes_block(tmp_path).splitlines()
    assert [line for line in lines if line.startswith("| ")][1:] == [
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| not said | 5.00 | 2.50 | 200 | 40 | 0.300 | 71.5% |",
        "| 3 | 2.70 (90%) | 2.50 | 200 | 40 | 0.300 | 71.5% |",
        "| 3, another process on a core | 2.80 (93%) | 2.50 | 200 | 40 | 0.300 | 71.5% |",
        "| 10 | 9.50 (95%) | 2.50 | 200 | 40 | 0.300 | 71.5% |",
    ]
    assert lines[-1].startswith("The most by which minutes were exceeded is 0.4%, the least use of")


def test_sides_that_were_not_run_are_left_out(tmp_path: Path) -> None:
    def row(part: str, rate: float, **more: float) -> dict[str, Any]:
        return {"part": part, "tokens_per_s": rate, **more}

    rows = [
        row("192:fp32:potstill", 700.0),
        row("192:fp32:potstill", 720.0),
        row("192:fp32:products", 1000.0, tokens_per_s_chosen=1500.0),
        row("1000:fp32:potstill", 600.0),
        row("1000:fp32:generate", 200.0),
    ]
    _written(tmp_path, "collect", {}, rows)
    block = speed_pages.speed_block(tmp_path)
    assert "192 prompts, fp32 | 192 prompts, bf16 | 1000 prompts, fp32" in block
    assert "| potstill | 710 | - | 600 | - |" in block
    assert "| the same, by the product that decoding takes | 1,500 | - | - | - |" in block
    assert "continuous" not in block


def test_a_step_and_int8_stand_by_precision(tmp_path: Path) -> None:
    _written(tmp_path, "train", {"step_vs_matmul_bf16": 1.2345}, [])
    _written(tmp_path, "int8", {"kl_int8_fp32": 0.00612, "tokens_per_s_int8_vs_fp32": 1.5}, [])
    block = speed_pages.speed_block(tmp_path)
    assert "| A step with the teacher in memory, over its bare products | - | 1.23 |" in block
    assert "| KL from the teacher in this precision, nats a token | 0.0061 | - |" in block
    assert "| Tokens of answers a second, of its | 1.50 | - |" in block
