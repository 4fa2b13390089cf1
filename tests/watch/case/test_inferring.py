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
    next_checks,
    strength_words,
    techniques_of,
    without_signal,
)
from potstill.watch.case.models import (
    Explanation,
    FamilyLeftOut,
    MemberStrength,
    Strength,
)
from potstill.watch.judging import two_families_log_e
from potstill.watch.schema import Family

NAMES = [f"a{n}" for n in range(8)]


def member(name: str, *families: Family) -> MemberStrength:
    strength: Strength = "strong" if len(families) > 1 else "medium" if families else "weak"
    return MemberStrength(account=name, strength=strength, families=families, signs=())


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
    nobody = [member("a"), member("b", "time")]
    assert "Look at each account by itself" in action_words("limit", nobody)
    strong = [member("a", "infrastructure", "time")]
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


def test_who_carries_nothing_himself_is_looked_at() -> None:
    checks = next_checks([], [member("a"), member("b", "time")], found_of([]))
    assert "Look at the 1 account that carry" in " ".join(checks)


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
