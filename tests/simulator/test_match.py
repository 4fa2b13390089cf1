"""Marginals are matched: no column and no request alone tells a campaign from its match."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from traffic import freeze
from worlds import ROOT

from potstill.simulator.spec import AWKWARD

RESULTS = ROOT / "benchmarks" / "results" / "traffic_matching.json"


def test_the_recorded_aucs_are_those_of_the_frozen_simulator_and_within_the_limit() -> None:
    found = json.loads(RESULTS.read_text(encoding="utf-8"))
    frozen = freeze.frozen()[found["simulator"]["version"]]
    assert found["simulator"]["sha256"] in {one.sources for one in frozen}
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
    # The same learners do see a difference where there is one: a class is no coding harness.
    told = match.aucs(*(of_two_covers(match, seed) for seed in (71, 72)))
    assert told["request prompt (words)"] > 0.9
    assert told["request user_agent"] > 0.9
    assert told["account plan"] > 0.8
    assert told["account created_at"] > 0.7


def of_two_covers(match: Any, seed: int) -> Any:
    """Return a sample in which a class's requests and accounts count as a campaign's."""
    one, other = (
        match.sampled(match.probe(cover, seed, 13), 1_000)
        for cover in ("classroom_nat", "coding_harness")
    )
    both = match.together([one, other])
    return replace(
        both,
        guilty_N=np.arange(both.requests.num_rows) < one.requests.num_rows,
        guilty_A=np.arange(both.accounts.num_rows) < one.accounts.num_rows,
    )
