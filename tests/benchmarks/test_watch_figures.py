"""Figures about searched worlds, on rows made by hand."""

from __future__ import annotations

import math

import pytest
from watch_rows import a_case, a_hit, a_row
from watched.figures import b_cubed, false_figures, leaks, summed, upper_95


def test_b_cubed_counts_each_account_against_its_case_and_its_campaign() -> None:
    # Case 1: three of c0 (of four) and one innocent; case 2: two of c1 (of two).
    row = a_row((), (a_case({"c0": 3}, {"ordinary": 1}), a_case({"c1": 2}, {})), {"c0": 4, "c1": 2})
    found = b_cubed([row])
    precision = (3 * 3 / 4 + 1 / 4 + 2 * 1) / 6
    recall = (3 * 3 / 4 + 1 + 2 * 1) / 6
    # The fourth account of c0 is in no case: with itself alone.
    whole = (3 * 3 / 4 + 1 / 4 + 2 * 1) / 6
    assert found["B-cubed precision"] == pytest.approx(precision, abs=1e-4)
    assert found["B-cubed recall"] == pytest.approx(recall, abs=1e-4)
    assert found["B-cubed recall, all campaigns' accounts"] == pytest.approx(whole, abs=1e-4)


def test_a_poisson_bound_is_the_rate_at_which_so_few_have_a_chance_of_a_twentieth() -> None:
    for events in (0, 1, 4):
        mean = upper_95(events, 1.0)
        assert mean is not None
        chance = sum(math.exp(-mean) * mean**k / math.factorial(k) for k in range(events + 1))
        assert chance == pytest.approx(0.05)
    assert upper_95(0, 0.0) is None


def test_the_worst_kind_has_most_false_cases_and_else_was_seen_least() -> None:
    clean = false_figures([a_row((), (), {})])
    assert clean["false cases"] == 0
    assert clean["worst kind"] == "hackathon"
    assert clean["awkward requests"] == 400_000
    assert clean["false cases a million, upper 95%"] == pytest.approx(-math.log(0.05) / 2)
    row = a_row((), (a_case({"c0": 1}, {"ci_keys": 5}), a_case({"c0": 4}, {"hackathon": 4})), {})
    assert false_figures([row])["worst kind"] == "ci_keys"
    assert false_figures([row])["false cases"] == 1


def test_recall_is_of_campaigns_that_are_to_be_found_and_the_rest_stands_apart() -> None:
    hits = (
        a_hit(share=1.0, requests=300, cases=1, held=("time",), why="named"),
        a_hit(campaign="c1", requests=100),
        a_hit(campaign="c2", families=("intent",)),
        a_hit(campaign="c3", accounts=1),
        a_hit(campaign="c4", mix=0.75),
    )
    found = summed([a_row(hits, (a_case({"c0": 4}, {"ordinary": 2}),), {"c0": 20})])
    assert (found["campaigns"], found["to be found"]) == (5, 2)
    assert found["recall by requests"] == 0.75
    assert found["recall by campaign"] == 0.5
    assert found["innocents in true cases, by kind"] == {"ordinary": 2}
    assert found["missed by design"] == {"intent": "0 of 1"}
    assert found["families that held"] == {"time": 1}
    cells = {(c["accounts"], c["mix"], c["families"]): c["named"] for c in found["surface"]}
    assert cells == {(1, 0.0, 2): 0, (20, 0.0, 1): 0, (20, 0.0, 2): 1, (20, 0.75, 2): 0}


def test_what_leaks_is_of_the_alerted_and_all_of_the_unnamed() -> None:
    hits = [a_hit(leaked=(2, 40)), a_hit(campaign="c1", leaked=(4, 60)), a_hit(campaign="c2")]
    found = leaks(hits)
    assert found["alerted"] == 2
    assert found["share of them"] == 0.5
    assert found["median day of the first alert"] == 3
    assert found["share leaked, unnamed ones too"] == pytest.approx(200 / 300, abs=1e-3)
    assert leaks([a_hit()]) == {}
