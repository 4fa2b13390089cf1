"""What follows from a case is no more than its evidence without each part gives."""

from __future__ import annotations

import math

import pytest
from case_worlds import campaign_of, finding, found_of, group_of

from potstill.watch.case.inferring import (
    action_of,
    action_words,
    bound_log10_e,
    left_out_of,
    member_strengths,
    next_checks,
    signs_of,
    strength_words,
    techniques_of,
    without_signal,
)
from potstill.watch.case.models import CaseFacts, Explanation, FactTable, FamilyLeftOut
from potstill.watch.judging import two_families_log_e

NAMES = [f"a{n}" for n in range(8)]
ROW = {"requests": 8, "templated": 0, "taken_over": 0, "asking": 0, "linked_to": 0}


@pytest.mark.parametrize(
    ("changes", "signs"),
    [
        ({}, ()),
        ({"templated": 1}, ()),
        ({"templated": 2}, ("content",)),
        ({"requests": 100, "templated": 24}, ()),
        ({"requests": 100, "templated": 25, "asking": 25}, ("content", "intent")),
        ({"linked_to": 1, "taken_over": 1}, ("infrastructure",)),
        ({"linked_to": 1, "taken_over": 2}, ("infrastructure", "time")),
        ({"linked_to": None}, ()),
    ],
)
def test_a_sign_is_a_quarter_of_the_requests(changes: dict, signs: tuple) -> None:
    assert signs_of(ROW | changes) == signs


def facts(*rows: dict) -> CaseFacts:
    columns = ("account", *ROW)
    table = FactTable(name="members", columns=columns, rows=(), query="")
    values = tuple(tuple({"account": f"a{n}", **ROW, **r}.values()) for n, r in enumerate(rows))
    return CaseFacts(
        totals=(),
        timeline=table,
        members=table.model_copy(update={"rows": values}),
        templates=None,
        examples=(),
        shared=table,
        signals=(),
        explanations=(),
    )


def test_strength_counts_families_that_hold_alone() -> None:
    members = facts({}, {"templated": 8, "linked_to": 1}, {"linked_to": 1, "taken_over": 3})
    found = member_strengths(members, ("infrastructure", "time"))
    assert [(one.account, one.strength) for one in found] == [
        ("a2", "strong"),
        ("a1", "some"),
        ("a0", "none"),
    ]
    assert found[1].signs == ("content", "infrastructure")
    assert "Look at the 1 account" in " ".join(next_checks([], found, found_of([])))


def test_the_bound_is_what_e_bh_asks_of_as_many_as_were_found() -> None:
    groups = [group_of(NAMES, candidate_id=f"g{n}", found=n < 2) for n in range(10)]
    found = found_of([campaign_of(NAMES)], candidates=tuple(groups))
    # 10 candidates, 2 found, a level of 0.05: 10 / (0.05 * 2).
    assert bound_log10_e(found) == pytest.approx(2.0)


def test_without_a_signal_is_the_verdict_of_the_others() -> None:
    group = group_of(NAMES)
    logs = {"means": 4.0, "hand-off": 7.0, "clock": 1.0}

    def verdict(*left: str) -> float:
        parts = {part: logs[part] * math.log(10) for part in left}
        return max(two_families_log_e("templates", parts) / math.log(10), -3.0)

    whole = without_signal(group, None)
    by_name = {one.signal: without_signal(group, one) for one in group.signals}
    assert whole == pytest.approx(verdict("means", "hand-off", "clock"), abs=1e-3)
    assert by_name["hand-off"] == pytest.approx(verdict("means", "clock"), abs=1e-3)
    assert by_name["synchrony"] == pytest.approx(verdict("means", "hand-off"), abs=1e-3)
    assert by_name["shared payment"] == pytest.approx(verdict("hand-off", "clock"), abs=1e-3)
    assert by_name["hand-off"] < whole <= by_name["shared payment"]
    described = finding("rubric and reward prompts", "intent", "intent", 9.0, 1.0, None)
    more = group.model_copy(update={"signals": (*group.signals, described)})
    assert without_signal(more, None) == whole


def test_the_action_goes_no_further_than_the_evidence() -> None:
    found = found_of([campaign_of(NAMES)])
    falls = left_out_of(found, found.campaigns[0])
    assert [(one.family, one.stands) for one in falls] == [
        ("infrastructure", False),
        ("time", False),
    ]
    stands = [FamilyLeftOut(family="time", log10_e=5.0, stands=True)]
    assert action_of(falls, ("infrastructure", "time")) == "ask"
    assert action_of(stands, ("infrastructure", "time")) == "limit"
    assert action_of(stands, ("time",)) == action_of([], ()) == "look"
    nobody = member_strengths(facts({}), ("time",))
    assert "Look at each account by itself" in action_words("limit", nobody)
    strong = member_strengths(facts({"linked_to": 1, "taken_over": 2}), ("infrastructure", "time"))
    for action in ("look", "ask", "limit"):
        assert "person" in action_words("limit", strong)
        assert "suspend" not in action_words(action, strong).lower()


def test_what_may_explain_is_checked_first() -> None:
    tested = [
        Explanation(name=f"x{n}", rule="r", outcome=outcome, because="b", covers=())
        for n, outcome in enumerate(("does not explain", "not tested", "may explain"))
    ]
    checks = next_checks(tested, (), found_of([]))
    assert checks[0].startswith("Check whether this is x2")
    assert any("X1 could not be tested" in check for check in checks)
    assert not any("x0" in check for check in checks)


def test_words_of_strength_begin_at_one_percent() -> None:
    # e = 99 makes even odds of 1 in 100.
    assert "ends at 50%" in strength_words(1.99564)
    assert "more than 99%" in strength_words(400.0)
    assert "no probability of guilt" in strength_words(2.0)


def test_techniques_are_those_that_the_case_suggests() -> None:
    named = {one.uid for one in techniques_of(campaign_of(NAMES, families=("content", "time")))}
    assert named == {"AML.T0024.002", "AML.T0040"}
    relay = finding("shared client address", "infrastructure", "means", 7.0, 1.0, 5.0)
    of_relay = campaign_of(NAMES, candidates=(group_of(NAMES, signals=(relay,)),))
    assert {one.uid for one in techniques_of(of_relay)} == {
        "AML.T0024.002",
        "AML.T0040",
        "AML.T0008.005",
        "AML.T0021",
    }
