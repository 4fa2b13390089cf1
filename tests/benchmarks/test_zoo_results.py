"""The committed zoo: its raw logs give its figures again, and its pages say what it holds."""

from __future__ import annotations

import importlib
import json
import lzma
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from potstill.canonical import digest_of_bytes

_BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
_RESULT, _LOGS = _BENCHMARKS / "results" / "zoo.json", _BENCHMARKS / "results" / "zoo"


def _module(folder: Path, name: str) -> ModuleType:
    before = list(sys.path)
    sys.path.insert(0, str(folder))
    try:
        return importlib.import_module(name)
    finally:
        sys.path[:] = before


@pytest.mark.skipif(not _RESULT.exists(), reason="the zoo was not measured yet")
def test_kept_raw_logs_are_those_of_the_rows_and_give_their_figures_again() -> None:
    curves, world = (_module(_BENCHMARKS / "zoo", name) for name in ("curves", "world"))
    result = json.loads(_RESULT.read_text(encoding="utf-8"))
    rows = {row["raw"]: row for row in _tests(result)}
    kept = sorted(_LOGS.glob("*/*.jsonl.xz"))
    assert len(kept) == len(result["claims"]["innocents"]["raw_logs_kept"]) > 0
    for path in kept:
        raw = lzma.decompress(path.read_bytes())
        row = rows[digest_of_bytes(raw, 32)]
        log = [json.loads(line) for line in raw.splitlines()]
        mark = world.SCHEMES.get(row["test"].partition(" ")[2], {})
        found = curves.again(row["test"], log, mark, row["plan"], least=row["least"])
        if found is None:
            assert not row["test"].startswith(("watermark", "twins"))
            continue
        assert found.log10_p == pytest.approx(row["finding"]["log10_p"], abs=1e-6), path


@pytest.mark.skipif(not _RESULT.exists(), reason="the zoo was not measured yet")
def test_the_rows_answer_the_plans_of_the_code() -> None:
    plans, smollm2 = (_module(_BENCHMARKS / "zoo", name) for name in ("plans", "smollm2"))
    digests = {"suspect": plans.Sizes().digest, "smollm2": smollm2.DIGEST}
    rows = json.loads(_RESULT.read_text(encoding="utf-8"))["rows"]
    told = [row for row in rows if row["part"] in digests]
    assert told and all(row["plan"] == digests[row["part"]] for row in told)
    real = [row for row in told if row["part"] == "smollm2"]
    assert {row.get("text_plan") for row in real if row["served"]} == {smollm2.TEXT_DIGEST}
    assert {row.get("text_plan") for row in real} <= {smollm2.TEXT_DIGEST, None}


def test_smollm2_is_asked_what_it_has_not_served_and_innocents_learn_text_of_people() -> None:
    smollm2 = _module(_BENCHMARKS / "zoo", "smollm2")
    world = smollm2.SmolWorld(Path())
    asked = smollm2.SmolOwner(world).prompts
    assert len(world.prompts) == smollm2.SERVED and len(asked) == smollm2.TEXT_PROMPTS
    assert len(asked) * smollm2.SAMPLES * smollm2.ASKED_LONGEST <= 100_000
    assert not set(asked) & set(world.prompts)
    corpus = world.corpus(0)
    assert len({said.prompt for said in corpus}) == len(corpus) == smollm2.SERVED
    assert all(120 <= len(said.text) <= 4 * smollm2.LONGEST for said in corpus)


def _tests(result: dict[str, Any]) -> list[dict[str, Any]]:
    curves = _module(_BENCHMARKS / "zoo", "curves")
    suspects = [row for row in result["rows"] if row["part"] in ("suspect", "smollm2")]
    return [
        {"test": name, "plan": _plan(row, name), "least": curves.least_of(row), **test}
        for row in suspects
        for name, test in row["tests"].items()
        if "raw" in test
    ]


def _plan(row: dict[str, Any], test: str) -> str:
    text = test.startswith("watermark-text")
    return str(row.get("text_plan", row["plan"]) if text else row["plan"])


def _claim(value: float | None, **facts: Any) -> dict[str, Any]:
    return {"value": value, "unit": "", "runs": 4, **facts}


def test_pages_quote_counts_targets_and_shortfalls(tmp_path: Path) -> None:
    pages = _module(_BENCHMARKS, "zoo_pages")
    assert pages.readme_block(tmp_path) == ""
    assert pages.page_block(tmp_path) == pages.NOT_YET
    counted = {"times": 6, "upper_95": 0.058, "least_log10_p": -2.0}
    claims = {
        "innocents": _claim(52, by_kind={"base": 52}),
        "innocents_like_the_teacher": _claim(7) | {"runs": 44},
        **{
            f"innocents_accused{test}": _claim(0, **counted) | {"runs": 52}
            for test in ("", "_watermark_text", "_watermark_reading", "_twins")
        },
        "marked_full_reading_p_max": _claim(0.0, log10=-412.3, below=1e-12, reached=True, who="a"),
        "marked_full_text_p_max": _claim(0.02, log10=-1.7, below=1e-3, reached=False, who="b"),
        "marked_5pct_p": _claim(None),
        "twins_p_max": _claim(2e-9, log10=-8.7, below=1e-4, reached=True, who="c"),
        "peer_innocents_accused: somebody's": _claim(40) | {"runs": 44},
    }
    suspect = {"part": "suspect", "headline": False, "share": 0.0}
    rows = [
        {**suspect, "name": "weak", "stops": 0.3, "teacher_stops": 0.9, "degraded": True},
        {**suspect, "name": "other ids", "stops": None, "teacher_stops": 0.9, "degraded": None},
        {
            "part": "power",
            "kind": "green, 100% marked",
            "epoch": 3,
            "test": "twins green",
            "median_log10_p": -30.04,
            "found": 1.0,
            "n": 2,
        },
        {
            "part": "ancestry",
            "name": "pruned",
            "kind": "pruned",
            "told": {"weights": {"tier": "descent", "log10_p": -40.0, "effect": 0.996}},
            "called": ["derived weights"],
        },
        {
            "part": "peer",
            "peer": "somebody's",
            "claims": [],
            "indirect": False,
            "derived": True,
            "methods": {"cosine": {"derived": True}},
        },
    ]
    found = {"date": "2026-11-30T", "commit": "abc", "machine": {"cores": 2}}
    found |= {"claims": claims, "rows": rows}
    (tmp_path / "zoo.json").write_text(json.dumps(found), encoding="utf-8")
    readme = pages.readme_block(tmp_path)
    for cell in (
        "| Innocents accused, of 52 at alpha 1e-4 | 0 (95% bound on the chance: 5.8%) |",
        "| 1e-412 (n 4) |",
        "| 0.02 (n 4, not below 0.001) |",
        "| no such suspect |",
        "| Innocents called derived by somebody's | 40 of 44 |",
    ):
        assert cell in readme
    page = pages.page_block(tmp_path)
    for cell in (
        "| watermark_reading | 6 | 0 of 52 | 5.8% | 0.01 |",
        "| green, 100% marked | 3 | -30.0 (2/2) |",
        "is at or below 1e-4 for 7 of 44 innocents",
        "| pruned | pruned | -40.0 (descent, 1.00) | - | derived weights |",
        "| somebody's | no kin, learnt nothing | 1 of 1 | cosine 1 |",
        "Degraded, below half of the teacher's: weak (30%).",
    ):
        assert cell in page


def _reading_row(name: str, log10_p: float, need: int | None) -> dict[str, Any]:
    points = [{"share": 1.0, "n": 1000, "log10_p": log10_p}]
    curve = {"points": points, "target": 5e-4, "times_this_size": None, "scores_for_target": need}
    return {
        "part": "suspect",
        "name": f"{name}, epoch 3",
        "headline": False,
        "share": 0.05,
        "served": "green",
        "epoch": 3,
        "curves": {"watermark-reading green": curve},
    }


def test_the_page_says_what_a_small_share_would_take() -> None:
    pages = _module(_BENCHMARKS, "zoo_sizes")
    sizes = {"part": "sizes", "positions": 10_000, "distinct_tokens": {"green": 1_388}}
    rows = [
        _reading_row("far", -1.0, 8_000),
        _reading_row("there", -5.0, 500),
        _reading_row("nothing", 0.0, None),
        sizes,
    ]
    said = pages.five(rows)
    for part in (
        "far: p 0.1 at n 1,000, not reached; if its mean score stayed, n 8,000 (8 times as much)",
        "there: p 1e-05 at n 1,000, reached;",
        "nothing: p 1 at n 1,000, its mean score is no better than chance's",
        "1,388 of green's",
    ):
        assert part in said
    assert pages.five([sizes]) == ""


def test_the_page_says_how_much_of_the_zoo_it_holds_and_shows_the_real_model() -> None:
    pages = _module(_BENCHMARKS, "zoo_pages")
    found = {"finding": {"log10_p": -12.34, "n": 4_321}}
    real = {
        "part": "smollm2",
        "name": "green-1",
        "kind": "green, 100% marked",
        "trained": {"tokens": 7_000, "epochs": 3},
        "tests": {"watermark-reading green": found},
    }
    same = {**real, "name": "teacher", "kind": "as it is", "trained": None, "tests": {}}
    rows = [
        {"part": "suspect", "epoch": 3},
        {"part": "suspect", "epoch": 1},
        {"part": "sizes", "planned": {"1": 18, "2": 18, "3": 80}},
        real,
        same,
    ]
    assert pages._held({"rows": rows}) == (
        "2 of the 116 suspects, 1 of 80 after the last epoch and 1 of 36 after an earlier one; and "
        "2 of SmolLM2"
    )
    table = _module(_BENCHMARKS, "zoo_sizes").real(
        rows, {"smollm2_innocents_accused": {"runs": 3, "value": 0}}
    )
    assert "| green-1 | green, 100% marked: 7,000 tokens, 3 epochs | -12.3 (4,321) |" in table
    assert "| teacher | as it is | - |" in table
    assert "Of 3 that learnt no marked text 0 are accused" in table
    fresh = [{"part": "smollm2-fresh", "log10_p": p} for p in (-1.0, -0.3)]
    table = _module(_BENCHMARKS, "zoo_sizes").real(
        [*rows, *fresh], {"smollm2_innocents_accused": {"runs": 3, "value": 0}}
    )
    assert "fresh keys (2)" in table and "the teacher itself p 0.1, 0.5." in table
    assert _module(_BENCHMARKS, "zoo_sizes").real(rows[:3], {}) == ""
