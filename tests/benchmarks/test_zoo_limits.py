"""The table of limits that ships is the one that the committed zoo gives."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

_ROOT = Path(__file__).parents[2]


@pytest.fixture
def limits() -> ModuleType:
    before = list(sys.path)
    sys.path.insert(0, str(_ROOT / "benchmarks" / "zoo"))
    try:
        return importlib.import_module("limits")
    finally:
        sys.path[:] = before


def test_the_shipped_table_comes_from_the_committed_zoo(limits: ModuleType) -> None:
    result = json.loads((_ROOT / "benchmarks" / "results" / "zoo.json").read_text("utf-8"))
    shipped = _ROOT / "src" / "potstill" / "data" / "trace-limits.json"
    assert json.loads(shipped.read_text("utf-8")) == limits.limits_of(result)


def _row(name: str, kind: str, share: float, log10_p: float, **more: Any) -> dict[str, Any]:
    found = {"finding": {"log10_p": log10_p, "n": 40 + len(name), "void": None}}
    row = {
        "part": "suspect",
        "name": name,
        "kind": kind,
        "share": share,
        "served": "green",
        "epoch": 3,
        "claims": ["outputs"] if share else [],
        "innocent": not share,
        "tests": {"watermark-reading green": found, "watermark-reading gumbel": found},
    }
    return row | more


def test_students_are_counted_by_share_after_both_schemes(limits: ModuleType) -> None:
    rows = [
        _row("a", "green, 100% marked", 1.0, -9.0),
        _row("bb", "green, 100% marked", 1.0, -4.2),  # 1e-4 is missed after two schemes
        _row("early", "green, 100% marked", 1.0, -9.0, epoch=1),
        _row("ccc", "green, 5% marked", 0.05, -4.4),
        _row("tuned", "fine-tuned on clean text afterwards", 1.0, -9.0),
        _row("base", "base", 0.0, -0.2),
        {
            "part": "sizes",
            "parameters": 7,
            "tokens": {"green": 500, "gumbel": 400},
            "schemes": {
                "green": {"scheme": "green", "window": 1, "gamma": 0.5, "delta": 2.0},
                "gumbel": {"scheme": "gumbel", "window": 1},
            },
        },
    ]
    (found,) = limits.limits_of({"date": "2026-11-30T", "rows": rows})
    assert (found["test"], found["scheme"], found["tokens"]) == ("watermark-reading", "green", 500)
    assert found["settings"] == {"window": 1.0, "gamma": 0.5, "delta": 2.0}
    assert [(p["share"], p["found"], p["of"], p["scores"]) for p in found["points"]] == [
        (1.0, 1, 2, 41),
        (0.05, 1, 1, 43),
    ]
    assert (found["innocents_found"], found["innocents"], found["parameters"]) == (0, 1, 7)
