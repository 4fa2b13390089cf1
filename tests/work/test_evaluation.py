"""The schema of evaluation.json and its reference page."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from potstill.stats.bootstrap import Interval
from potstill.work.evaluation import SCHEMA, Evaluation
from potstill.work.evaluation_docs import reference_page, rows
from potstill.work.figures import Estimate

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "evaluation.md"


def estimate(value: float = 0.3) -> dict[str, Any]:
    return {"value": value, "ci95": [value - 0.1, value + 0.1], "n": 200}


def content() -> dict[str, Any]:
    shared = {"params": 10, "bytes": 40, "prefill_tok_s": 2.0, "decode_tok_s": 1.0}
    shared |= {"perplexity": estimate(3.0), "bits_per_byte": estimate()}
    student = shared | {"kl_per_token": estimate(), "top1_agreement": estimate(0.7)}
    stage = {"flops": 1e9, "tokens": 10, "seconds": 1.0, "joules": None, "money": 0.1}
    return {
        "schema": SCHEMA,
        "run": "demo",
        "created_at": "2026-01-01T00:00:00+00:00",
        "machine": {
            "cpu": "c",
            "cores": 2,
            "memory_gb": 8.0,
            "accelerator": None,
            "packages": {"torch": "2"},
            "compute_dtype": "float32",
        },
        "held_out": {"prompts": 1, "tokens": 2, "max_tokens": 3, "sampling": {"temperature": 1}},
        "models": {"teacher": shared, "student": student},
        "differences": {},
        "vocabulary": None,
        "overlap": {
            "held_out": 1,
            "train": 2,
            "exact": 0,
            "near": 0,
            "dropped_from_training": 0,
            "method": "m",
            "threshold": 0.5,
        },
        "collection": None,
        "shrink": None,
        "training": None,
        "cost": {
            "total": stage,
            "training": stage,
            "from_scratch": {"tokens": 1, "flops": 1.0, "money": 1.0, "formula": "f"},
            "ratio_flops": 0.1,
            "currency": "USD",
        },
        "samples": [
            {"messages": [{"role": "user", "content": "q"}], "teacher": "a", "student": "b"}
        ],
        "peak_memory_bytes": 1,
        "seconds": 1.0,
    }


def test_what_is_read_is_what_is_written():
    written = Evaluation(**content()).as_json()
    assert written["schema"] == "potstill/evaluation/2"
    assert written["models"]["student"]["kl_per_token"] == estimate()
    assert written["cost"]["training"]["joules"] is None
    assert Evaluation(**json.loads(json.dumps(written, allow_nan=False))).as_json() == written


def test_what_was_not_measured_is_left_out():
    written = Evaluation(**content()).as_json()
    assert set(written["models"]) == {"teacher", "student"}
    assert "kl_per_token" not in written["models"]["teacher"]
    assert written["differences"] == {}
    assert "shrink" not in written["cost"]
    assert written["vocabulary"] is None


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"schema": "potstill/evaluation/3"},
        {"seconds": float("nan")},
        {"seconds": float("inf")},
        {"peak_memory_bytes": None},
    ],
)
def test_what_the_schema_does_not_say_is_refused(change: dict[str, Any]):
    with pytest.raises(ValidationError):
        Evaluation(**(content() | change))


def test_an_estimate_needs_ordered_finite_ends():
    assert Estimate.of(Interval(0.5, 0.4, 0.6, 3)).ci95 == (0.4, 0.6)
    for ends in ((0.6, 0.4), (0.1, float("nan"))):
        with pytest.raises(ValidationError):
            Estimate(value=0.5, ci95=ends, n=3)


def test_the_reference_page_is_up_to_date():
    assert PAGE.read_text() == reference_page(), (
        "run: python -m potstill.work.evaluation_docs > docs/reference/evaluation.md"
    )


def test_every_field_is_described():
    found = rows()
    assert all(text for _, _, text in found)
    paths = [path for path, _, _ in found]
    assert len(paths) == len(set(paths))
    assert {"models.MODEL.kl_per_token", "cost.STAGE.flops", "samples[].teacher"} <= set(paths)


def test_the_schema_is_read_without_torch():
    code = (
        "import sys, potstill.work.evaluation;"
        "print({'torch', 'transformers', 'scipy', 'numpy', 'pyarrow'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout.strip() == "set()"
