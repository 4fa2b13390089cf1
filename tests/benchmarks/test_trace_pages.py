"""Null trials of a trace: the committed ones hold, and the pages say what the files say."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
_RESULTS = _BENCHMARKS / "results"


def _pages() -> ModuleType:
    before = list(sys.path)
    sys.path.insert(0, str(_BENCHMARKS))
    try:
        return importlib.import_module("trace_pages")
    finally:
        sys.path[:] = before


def _file(folder: Path, name: str, claims: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    facts = {"date": "2026-12-03T00:00:00+00:00", "commit": "abc", "claims": claims, "rows": rows}
    (folder / f"{name}.json").write_text(json.dumps(facts))


def _levels(key: str, *shares: float) -> list[dict[str, Any]]:
    pairs = zip((0.05, 0.01, 0.001), shares, strict=False)
    return [{"level": level, key: share, "inside": True} for level, share in pairs]


@pytest.mark.parametrize("name", ["trace_null", "trace_ancestry"])
def test_the_committed_null_trials_hold(name: str) -> None:
    claims = json.loads((_RESULTS / f"{name}.json").read_text(encoding="utf-8"))["claims"]
    assert claims["ks_p_min"]["value"] > 0.01
    assert (claims.get("levels_inside") or claims["levels_held"])["value"]


def test_null_trials_stand_in_their_rows(tmp_path: Path) -> None:
    pages = _pages()
    assert pages.null_block(tmp_path) == pages.NOT_YET
    row = {"test": "twins", "scheme": "", "who": "4 twins", "trials": 20_000}
    wrong = {**row, "test": "wrong: dropped", "adjusted_ks_p": None, "conservative": False}
    sound = {**row, "adjusted_ks_p": 0.25, "conservative": True}
    rows = [
        {"seed": 1},
        sound | {"levels": _levels("share", 0.049, 0.0101, 0.0009)},
        wrong | {"levels": [{"level": 0.05, "share": 0.31, "inside": False}]},
    ]
    _file(tmp_path, "trace_null", {"ks_p_min": {"value": 0.25}}, rows)
    page = pages.null_block(tmp_path)
    assert "2026-12-03 (commit abc)" in page and "3 of 3 rates inside" in page
    assert "| twins: 4 twins (conservative) | 20,000 | 0.25 | 4.90% | 1.01% | 0.09% |" in page
    assert "| wrong: dropped: 4 twins | 20,000 | - | 31.00% | - | - |" in page


def test_ancestry_tells_nulls_relatives_and_orders_apart(tmp_path: Path) -> None:
    pages = _pages()
    assert pages.ancestry_block(tmp_path) == pages.NOT_YET
    weights = {"part": "weights", "row": "weights: tuned", "how": "in-place", "related": True}
    power = {"part": "power", "row": "order: tuned", "text": "chats", "rows": 300, "redraws": 999}
    null = {"part": "order", "row": "order: one epoch", "trials": 20_000, "adjusted_ks_p": 0.5}
    rows = [
        null | {"levels": _levels("rate", 0.05, 0.01)},
        weights | {"tier": "descent", "log10_p": -88.0},
        power | {"reference": "base", "statistic": -0.3, "p": 0.001},
    ]
    claims = {"ks_p_min": {"value": 0.5}, "levels_held": {"value": False}}
    _file(tmp_path, "trace_ancestry", claims, rows)
    page = pages.ancestry_block(tmp_path)
    assert "not all levels held" in page
    assert "| order: one epoch | 20,000 | 0.5 | 5.00% | 1.00% | - |" in page
    assert "| tuned | in-place | yes | descent | -88.0 |" in page
    assert "| tuned | chats | 300 | base | -0.30 | 0.001 |" in page


def test_the_readme_counts_trials_of_both_files(tmp_path: Path) -> None:
    pages = _pages()
    _file(tmp_path, "trace_null", {"ks_p_min": {"value": 0.3}}, [{"seed": 1}, {"trials": 200}])
    assert pages.readme_rows(tmp_path) == []
    _file(tmp_path, "trace_ancestry", {"ks_p_min": {"value": 0.04}}, [{"trials": 1_000}, {"p": 1}])
    ((title, value),) = pages.readme_rows(tmp_path)
    assert "1,200" in title and value == "0.04"
