"""Who is named of groups that stand, and which groups are one campaign."""

from __future__ import annotations

from dataclasses import replace

from potstill.watch.campaigns import Grouping
from potstill.watch.naming import NamedParties, StandingGroup, lots_of, named, together, widened


def names(first: int, end: int) -> tuple[str, ...]:
    return tuple(f"a:{n:03d}" for n in range(first, end))


def test_who_uses_a_close_group_s_template_is_named_with_those_who_carry_it() -> None:
    parties = names(0, 10)
    close = Grouping(parties, keys=("h|k",), used=(*[40] * 8, 12, 40), close=True)
    assert widened(close, parties[:2]) == (*parties[:8], parties[9])
    assert widened(close, parties[:2], several={"a:009"}) == parties[:8]
    assert widened(close, parties[:1]) == parties[:1]
    # Few have a card at all, and of these half share one.
    assert widened(close, parties[:1], share=0.5) == (*parties[:8], parties[9])
    loose = replace(close, close=False)
    assert widened(loose, parties[:2]) == parties[:2]
    assert widened(loose, parties[:5]) == (*parties[:8], parties[9])
    # Slot coverage alone tells nobody from another one: all who use it much.
    assert widened(loose, parties) == parties


def test_a_campaign_s_accounts_are_guests_in_what_they_ask_beside_it() -> None:
    """Their other requests use public templates: of these nobody else is named."""
    campaign, public = names(0, 20), (*names(0, 5), *names(100, 113))
    at_home = StandingGroup(campaign, campaign[:18], campaign, loose=False)
    guests = StandingGroup(public, campaign[:5], public, loose=False)
    assert named([at_home, guests]) == [NamedParties(0, campaign), NamedParties(1, campaign[:5])]
    # Whichever of both holds more firmly.
    assert named([guests, at_home]) == [NamedParties(0, campaign[:5]), NamedParties(1, campaign)]
    # Without another group that they carry more of, the template may be theirs.
    assert named([guests]) == [NamedParties(0, public)]
    # Two groups in which they are as many leave both as they are: a campaign in two languages.
    other = StandingGroup((*campaign[:18], *names(20, 23)), campaign[:17], campaign, loose=False)
    assert [one.parties for one in named([at_home, other])] == [campaign, campaign]


def test_cards_of_fewer_than_half_of_those_who_share_them_make_no_template_theirs() -> None:
    relay, public = names(0, 20), (*names(0, 5), *names(100, 113))
    guests = StandingGroup(public, relay[:5], public, loose=False)
    assert named([guests], [relay]) == [NamedParties(0, relay[:5])]
    assert named([guests], [relay[:9]]) == [NamedParties(0, public)]


def test_lots_with_one_client_are_named_lot_by_lot() -> None:
    both = StandingGroup(names(0, 44), names(0, 40), names(0, 44), loose=False)
    lots = [names(0, 18), names(20, 30)]
    assert [one.parties for one in named([both], lots=lots)] == lots
    # What asks alike, or has cards in common, is one lot.
    assert lots_of([names(0, 9), names(9, 18), names(20, 30)], [(0, 1)]) == lots
    # One of them alone, lots that have somebody in common, and few of them are no reason.
    for others in (lots[:1], [names(0, 18), names(10, 30)], [names(0, 9), names(9, 18)]):
        assert [one.parties for one in named([both], lots=others)] == [names(0, 44)]


def test_a_loose_group_comes_last_where_closer_ones_name_half_of_it() -> None:
    loose = StandingGroup(names(0, 40), names(0, 30), names(0, 40), loose=True)
    close = StandingGroup(names(0, 16), names(0, 16), names(0, 16), loose=False)
    assert named([loose, close]) == [
        NamedParties(1, names(0, 16)),
        NamedParties(0, names(0, 30), late=True),
    ]
    assert named([loose]) == [NamedParties(0, names(0, 40))]
    # Those who share cards always carry what holds: their own group takes nothing away.
    cards = replace(close, linked=True)
    assert named([loose, cards])[0] == NamedParties(0, names(0, 40))
    few = StandingGroup(names(0, 9), names(0, 3), names(0, 3), loose=False)
    assert named([few]) == []


def each(*groups: tuple[str, ...], late: int = 0) -> list[NamedParties]:
    """Return groups as they are named, the last of them late."""
    own = len(groups) - late
    return [NamedParties(n, parties, late=n >= own) for n, parties in enumerate(groups)]


def test_a_group_joins_the_campaign_that_it_shares_most_with_and_bridges_none() -> None:
    first, second = names(0, 20), names(20, 40)
    both = (*names(10, 20), *names(20, 26))
    assert together(each(first, second)) == [[0], [1]]
    assert together(each(first, second, both)) == [[0, 2], [1]]
    # It holds both together where something else joins them.
    assert together(each(both, first, second)) == [[0, 1], [2]]
    assert together(each(first, second, both), [(0, 1)]) == [[0, 1, 2]]
    # Parts of a campaign that stands as a whole are of it.
    assert together(each((*first, *second), first, second)) == [[0, 1, 2]]
    assert together(each(first, names(15, 60), names(200, 204))) == [[0], [1], [2]]
    assert together([]) == []


def test_a_late_group_is_of_one_campaign_or_of_none() -> None:
    first, second = names(0, 20), names(20, 40)
    assert together(each(first, second, names(5, 28), late=1)) == [[0], [1]]
    assert together(each(first, second, (*names(0, 20), *names(90, 99)), late=1)) == [[0, 2], [1]]
    assert together(each(names(0, 9), late=1)) == []
