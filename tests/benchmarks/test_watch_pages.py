"""What the watch found: pages say what the files say, and the files what was measured."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import readme_results
import watch_pages
import watch_results
from watch_baselines import claims
from watch_find import told
from watch_rows import a_case, a_hit, a_row
from watched.comparing import RATES

_ROOT = Path(__file__).parents[2]
_RESULTS = _ROOT / "benchmarks" / "results"


def _found() -> dict[str, Any]:
    hits = (
        a_hit(share=0.9, requests=300, cases=1, held=("content", "time"), why="named"),
        a_hit(campaign="c1", requests=100, templates=20, mix=0.5, why="among others"),
        a_hit(campaign="c2", accounts=273, rate=6.0, leaked=None, why="not convicted"),
        a_hit(campaign="c3", families=("intent",)),
    )
    row = a_row(hits, (a_case({"c0": 18}, {"ci_keys": 2}),), {"c0": 20, "c1": 20, "c2": 273})
    links = {(row.world, hit.campaign): "places" for hit in hits} | {(row.world, "c0"): "means"}
    found: dict[str, Any] = json.loads(json.dumps(told([row], links)))
    return found


def _write(folder: Path, name: str, found: dict[str, Any]) -> None:
    facts = {"date": "2026-12-03T00:00:00+00:00", "commit": "abc"} | found
    (folder / f"{name}.json").write_text(json.dumps(facts))


def _find_file(folder: Path) -> None:
    found = _found()
    claimed = {
        name: claim
        for part in ("open", "held_out")
        for name, claim in watch_results.claims_of(part, found["figures"]).items()
    }
    rows = [r for part in ("open", "held_out") for r in watch_results.rows_of(part, found)]
    _write(folder, "watch_find", {"claims": claimed, "rows": rows})


def test_the_page_tells_what_was_found(tmp_path: Path) -> None:
    assert watch_pages.find_block(tmp_path) == watch_pages.NOT_YET
    assert watch_pages.readme_block(tmp_path) == ""
    _find_file(tmp_path)
    page = watch_pages.find_block(tmp_path)
    assert "| Recall, by requests | 54.0% | 54.0% |" in page
    assert "| of them innocent | 2 | 2 |" in page
    assert "ci keys 2" in page
    assert "| held-out mechanisms | means | 1 of 1 | 90.0% | 90.0% |" in page
    assert "| open mechanisms | places | 0 of 2 | 0.0% | 0.0% |" in page
    assert "| The worst kind | hackathon | hackathon |" in page
    assert "| 20 | 26 | 1/1 (90%) | 0/1 (0%) | 1/1 (90%) | 0/1 (0%) |" in page
    assert "| 273 | 6 | 0/1 (0%) |  | 0/1 (0%) |  |" in page
    assert "intent: 0 of 1" in page
    assert "1 named; 0 in a case that is false or another campaign's; of 0 no group" in page
    readme = watch_pages.readme_block(tmp_path)
    assert "| Campaigns named, open mechanisms, of 3 | 33.3% (54.0% of their requests) |" in readme
    assert "in 2.0 million benign requests | 0 (at most 1.5 a million, 95%) |" in readme


def test_the_page_tells_what_baselines_see(tmp_path: Path) -> None:
    assert watch_pages.baselines_block(tmp_path) == watch_pages.NOT_YET
    recall = {"headline": 0.25, "all to be found": None, "headline, any mix and families": 0.0}
    together = {
        "accounts": 10, "of campaigns": 4, "precision": 0.4,
        "campaigns half of whose accounts are in": 1, "campaigns": 3,
    }  # fmt: skip
    one = {
        "roc": [{"asked for": rate, "rate": rate, "recall": recall} for rate in RATES],
        "area under the curve": 0.61, "taken together": together,
    }  # fmt: skip
    ours = {
        "false positives": 3, "rate": 0.00003, "rate, upper 95%": 0.00008,
        "recall": {"headline": 0.5, "all to be found": 0.75,
                   "headline, any mix and families": 0.5},
        "taken together": together, "roc": one["roc"],
    }  # fmt: skip
    day = {
        "benign windows": 100_000, "ours": ours,
        "baselines": dict.fromkeys(watch_pages.BASELINES, one),
        "innocent windows above MMD's threshold as published": 0.7,
        "campaigns": {"headline": 5, "headline, any mix and families": 9},
    }  # fmt: skip
    claimed = claims(day)
    assert claimed["recall_vs_mmd"]["value"] == 0.0
    assert claimed["recall_vs_mmd"]["ours_all_cases"] == 0.5
    assert claimed["fpr_vs_mmd"]["value"] == pytest.approx(0.01)
    assert claimed["fpr_all_cases_vs_mmd"]["value"] == pytest.approx(0.01)
    row = {
        "part": "open", "worlds": ["a", "b"], "figures": {"day": day, "week": day},
        "seconds a million requests, both windows": dict.fromkeys(watch_pages.BASELINES, 12.34),
    }  # fmt: skip
    _write(tmp_path, "watch_baselines", {"claims": claimed, "rows": [row]})
    page = watch_pages.baselines_block(tmp_path)
    assert "100,000 innocent windows" in page
    assert "| `watch find` | 0.003% | 50.0% | 75.0% |  | 4 of 10 | 1 of 3 |  |" in page
    assert "| `watch find`, cases of the largest E | 0.0030% | 25.0% | - |  |  |  |  |" in page
    assert "| MMD of a window | 0.30% | 25.0% | - | 0.61 | 4 of 10 | 1 of 3 | 12.3 |" in page
    assert "flags 70% of innocent account days" in page


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("README.md", readme_results.with_results),
        ("docs/methods/watch-measured.md", readme_results.with_watch),
    ],
)
def test_pages_are_written_from_the_committed_results(name: str, written: Any) -> None:
    page = (_ROOT / name).read_text(encoding="utf-8")
    assert written(page, _RESULTS) == page
