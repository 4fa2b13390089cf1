"""Marginals are matched: no column and no request alone tells a campaign from its match."""

from __future__ import annotations

import json

import pytest
from traffic import freeze
from traffic.spec import AWKWARD
from worlds import ROOT

RESULTS = ROOT / "benchmarks" / "results" / "traffic_matching.json"


def test_the_recorded_aucs_are_those_of_the_frozen_simulator_and_within_the_limit() -> None:
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert found["simulator"]["sha256"] == freeze.frozen()[found["simulator"]["version"]]
    assert found["simulator"]["version"] == freeze.version()
    assert set(found["matched"]) == set(AWKWARD)
    for cover, aucs in found["matched"].items():
        assert len(aucs) >= 30
        for name, auc in aucs.items():
            assert auc <= found["limit"] == 0.6, (cover, name)


@pytest.mark.slow
def test_one_column_of_matched_worlds_tells_little_and_of_unmatched_ones_much() -> None:
    match = pytest.importorskip("traffic.match", reason="needs scikit-learn")
    kept = {"request prompt (words)", "request time", "request model", "request prompt_tokens"}
    kept |= {"account created_at", "account plan", "request user_agent"}
    matched = match.matched_aucs("classroom_nat", worlds=2, campaigns=39, most=2_500, seed=61)
    assert kept <= set(matched)
    assert {name: auc for name, auc in matched.items() if auc > match.MOST} == {}
    # The same learners do see a difference where there is one: a class against other traffic.
    samples = [
        match.sampled(match.probe("classroom_nat", 71 + i, 26), 2_500, matched=False)
        for i in range(2)
    ]
    told = match.aucs(*samples)
    assert told["request prompt (words)"] > 0.65
    assert told["account plan"] > 0.65
