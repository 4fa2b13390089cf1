"""Cases keep their ids, closed ones stay closed, and nothing is closed by growing into it."""

from __future__ import annotations

import json

import pytest
from case_worlds import campaign_of
from hypothesis import given
from hypothesis import strategies as st

from potstill.errors import PotstillError
from potstill.watch.case.register import (
    CaseRegister,
    closed_register,
    named_cases,
    reopened_register,
)

Groups = st.lists(
    st.sets(st.sampled_from([f"a{n}" for n in range(24)]), min_size=1),
    min_size=1,
    max_size=4,
    unique_by=frozenset,
)


def names(low: int, high: int) -> list[str]:
    return [f"a{n}" for n in range(low, high)]


def test_a_case_keeps_its_id_though_its_first_account_changes() -> None:
    found, register = named_cases(
        CaseRegister(), [campaign_of(names(0, 12), campaign_id="one")], "2026-03-01"
    )
    assert [(one.case_id, one.new) for one in found] == [("one", True)]
    # Another founder gives the campaign another id; half of its accounts are the same.
    found, register = named_cases(
        register, [campaign_of(names(6, 20), campaign_id="other")], "2026-03-02"
    )
    assert [(one.case_id, one.new) for one in found] == [("one", False)]
    assert register.cases["one"].first_found == "2026-03-01"
    found, _ = named_cases(register, [campaign_of(names(0, 3), campaign_id="third")], "2026-03-03")
    assert [(one.case_id, one.new) for one in found] == [("third", True)]


def test_a_closed_case_stays_closed_while_most_of_it_was_in_it() -> None:
    _, register = named_cases(CaseRegister(), [campaign_of(names(0, 10))], "2026-03-01")
    register = closed_register(register, ["c0"], "2026-03-04", "a class")
    (one,), after = named_cases(register, [campaign_of(names(0, 14))], "2026-03-02")
    assert one.known.closed and one.since_closed == 4 and not one.new
    # Growing day by day does not carry it further than what was closed.
    (one,), after = named_cases(after, [campaign_of(names(0, 40))], "2026-03-03")
    assert one.new and not one.known.closed and one.known.after == "c0"
    assert one.case_id != "c0" and after.cases["c0"].closed
    (one,), _ = named_cases(after, [campaign_of(names(0, 41))], "2026-03-04")
    assert not one.new and not one.known.closed


def test_an_open_case_is_taken_before_a_closed_one() -> None:
    both = [campaign_of(names(0, 10)), campaign_of(names(20, 26), campaign_id="c1")]
    _, register = named_cases(CaseRegister(), both, "2026-03-01")
    register = closed_register(register, ["c0"], "2026-03-04", "a class")
    joined = campaign_of([*names(0, 10), *names(20, 26)], campaign_id="c2")
    (one,), _ = named_cases(register, [joined], "2026-03-02")
    assert one.case_id == "c1" and not one.known.closed


def test_a_case_is_open_again_once_reopened() -> None:
    _, register = named_cases(CaseRegister(), [campaign_of(names(0, 10))], "2026-03-01")
    register = reopened_register(closed_register(register, ["c0"], "2026-03-04", "x"), ["c0"])
    assert not register.cases["c0"].closed and register.cases["c0"].closed_with == ()
    for change in (reopened_register, lambda r, ids: closed_register(r, ids, "2026-03-04", "x")):
        with pytest.raises(PotstillError, match="no case is called nobody"):
            change(register, ["nobody"])


def test_an_erased_account_leaves_the_register() -> None:
    _, register = named_cases(CaseRegister(), [campaign_of(names(0, 4))], "2026-03-01")
    register = closed_register(register, ["c0"], "2026-03-04", "x").model_copy(
        update={"accounts": {"a1": "ours", "b": "ours"}}
    )
    left = register.without_account("a1")
    assert "a1" not in left.model_dump_json()
    assert left.cases["c0"].accounts == left.cases["c0"].closed_with == ("a0", "a2", "a3")
    assert left.accounts == {"b": "ours"}
    assert CaseRegister.from_json(left.model_dump_json().encode()) == left


@given(Groups, Groups, st.booleans())
def test_each_campaign_is_one_case_and_each_case_one_campaign(
    before: list[set[str]], now: list[set[str]], close: bool
) -> None:
    def campaigns(groups: list[set[str]], prefix: str) -> list:
        return [campaign_of(sorted(g), campaign_id=f"{prefix}{n}") for n, g in enumerate(groups)]

    _, register = named_cases(CaseRegister(), campaigns(before, "x"), "2026-03-01")
    if close:
        register = closed_register(register, list(register.cases), "2026-03-04", "x")
    found, after = named_cases(register, campaigns(now, "y"), "2026-03-02")
    ids = [one.case_id for one in found]
    assert len(set(ids)) == len(ids) == len(now)
    assert set(after.cases) == set(register.cases) | set(ids)
    for one in found:
        assert one.new == (one.case_id not in register.cases)
        known = register.cases.get(one.case_id)
        if known is not None:
            mine, earlier = set(one.campaign.accounts), set(known.accounts)
            assert 2 * len(mine & earlier) >= min(len(mine), len(earlier)) > 0
            if known.closed:
                assert 2 * len(mine & set(known.closed_with)) >= len(mine)
    # A second look at the same days changes no id.
    again, _ = named_cases(after, campaigns(now, "y"), "2026-03-02")
    assert [one.case_id for one in again] == ids


@pytest.mark.parametrize(
    ("case_id", "changes"),
    [
        ("../../elsewhere", {}),
        ("it's", {}),
        ("c0", {"first_found": "banana"}),
        ("c0", {"at": "a while ago"}),
        ("c0", {"after": "../c1"}),
    ],
)
def test_a_register_edited_into_nonsense_is_damaged(case_id: str, changes: dict[str, str]) -> None:
    known = {"accounts": ["a"], "first_found": "2026-03-01"}
    assert CaseRegister.from_json(json.dumps({"cases": {"c0": known}}).encode()).cases
    with pytest.raises(ValueError, match=r"cases"):
        CaseRegister.from_json(json.dumps({"cases": {case_id: known | changes}}).encode())
