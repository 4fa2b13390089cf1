"""A case is the campaign that half of its accounts or more are of; what is swept in is counted."""

from __future__ import annotations

from potstill.runs.watch_truth import HiddenCampaign, NamedGroup, false_groups, outcomes

ONE = HiddenCampaign("one", "works so", {"a": 10, "b": 20, "c": 30, "d": 40}, ("content", "time"))
OTHER = HiddenCampaign("other", "works else", {"x": 5, "y": 5}, ("intent",))


def group(case_id: str, accounts: str, *families: str) -> NamedGroup:
    return NamedGroup(case_id, frozenset(accounts), families)


def test_two_cases_of_one_campaign_count_their_accounts_once() -> None:
    named = [group("g1", "abz", "time"), group("g2", "bc", "content", "time")]
    found, missed = outcomes([ONE, OTHER], named)
    assert found.cases == ("g1", "g2")
    assert found.families == ("content", "time")
    assert (found.accounts, found.swept) == (3, 1)
    assert found.requests == 60 / 100
    assert found.named
    assert not missed.named
    assert (missed.accounts, missed.requests, missed.swept) == (0, 0.0, 0)
    assert false_groups([ONE, OTHER], named) == ()


def test_half_of_the_accounts_is_enough_and_fewer_make_a_false_case() -> None:
    half, fewer = group("g1", "abyz"), group("g2", "amnop")
    (found, _) = outcomes([ONE, OTHER], [half, fewer])
    assert found.cases == ("g1",)
    assert false_groups([ONE, OTHER], [half, fewer]) == (fewer,)


def test_the_accounts_of_two_campaigns_do_not_add_up_to_a_true_case() -> None:
    mixed = group("g1", "axmno")
    assert false_groups([ONE, OTHER], [mixed]) == (mixed,)
    assert not any(one.named for one in outcomes([ONE, OTHER], [mixed]))
