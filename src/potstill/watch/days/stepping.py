"""A day's line: what it says of candidates that were chosen before, and who is chosen on it."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import pyarrow as pa
from ibis.backends.duckdb import Backend

from potstill.watch.days.daylog import Bets, Carriers, ChosenGroup, DayLine, GroupTested
from potstill.watch.days.following import (
    BLOCK_DAYS,
    WINDOW_DAYS,
    Followed,
    Following,
    candidate_id_of,
    grouping_of,
    written,
)
from potstill.watch.days.marks import accounts_active
from potstill.watch.evidence import Chooser, Part
from potstill.watch.find import Chosen, Joining, chosen_in, customers_in, testing_of
from potstill.watch.ingest.store import TrafficStore
from potstill.watch.signals.traffic import Traffic, accounts_of, traffic_of
from potstill.watch.tally import Tested
from potstill.watch.testing import Testing, handed_on


@dataclass(frozen=True)
class DaysRead:
    """Where days are read from; accounts that are `allowed` are left out."""

    store: TrafficStore
    backend: Backend
    days: tuple[str, ...]
    allowed: Collection[str]

    def traffic(self, last: int, count: int) -> Traffic:
        """Return the traffic of `count` days, the last of them at a place; of accounts those that
        made a request on them, so that nothing hangs on who comes later."""
        days = self.days[max(0, last - count + 1) : last + 1]
        table = accounts_active(self.store, days, self._accounts)
        return traffic_of(self.store, self.backend, days, table).without(self.allowed)

    @cached_property
    def _accounts(self) -> pa.Table:
        """The table of accounts, which is read once: nobody else writes to the store meanwhile."""
        return accounts_of(self.store)


@dataclass
class _Says:
    """What a day says of one candidate."""

    bets: Bets
    carriers: Carriers


def day_line(reading: DaysRead, following: Following, place: int, chain: str) -> DayLine:
    """Return the line of the day at a place, `following` all days before it.

    Read are that day, as many as a block has, and for choosing as many as a window has.
    """
    day = reading.days[place]
    tested = _tested(reading, following, place)
    traffic = reading.traffic(place, WINDOW_DAYS)
    parties = _parties(traffic)
    if not parties:
        return DayLine(
            day=day, chain=chain, chosen=(), again=(), tested=tested, alike=(), off=traffic.off
        )
    testing = testing_of(traffic, parties, choosing=True)
    groups = chosen_in(testing, parties)
    known = [following.like(one.by, one.group.parties) for one in groups]
    chosen = _chosen(testing, groups, [one is None for one in known], day)
    return DayLine(
        day=day,
        chain=chain,
        chosen=chosen,
        again=tuple(sorted({one for one in known if one is not None})),
        tested=tested,
        alike=_alike(testing, following, chosen, place),
        off=dict(sorted(traffic.off.items())),
    )


def _parties(traffic: Traffic) -> int:
    found = traffic.requests.aggregate(n=traffic.requests.party.nunique())
    return int(traffic.rows(found)["n"][0].as_py())


def _tested(reading: DaysRead, following: Following, place: int) -> tuple[GroupTested, ...]:
    """Return what a day, and blocks that end on it, say of candidates that were there before."""
    alone: list[Followed] = []
    ending: list[Followed] = []
    for one in following.candidates.values():
        on_day, ends = one.tested_on(place)
        alone += [one] * (on_day and "hand-off" in one.group.follows)
        ending += [one] * (ends and bool({"clock", "sharding"} & set(one.group.follows)))
    says: dict[str, _Says] = {}
    if alone:
        traffic = reading.traffic(place, 1)
        found = _handed([one.group.parties for one in alone], traffic)
        for one, mine in zip(alone, found, strict=True):
            _add(says, one.group, mine)
    if ending:
        traffic = reading.traffic(place, BLOCK_DAYS)
        if parties := _parties(traffic):
            testing = testing_of(traffic, parties, choosing=False)
            groups = [(one.group.by, grouping_of(one.group)) for one in ending]
            for one, result in zip(ending, testing.test_orders(groups), strict=True):
                _add(says, one.group, _with_rounds(result))
    return tuple(
        GroupTested(candidate_id=name, bets=one.bets, carriers=one.carriers)
        for name, one in says.items()
        if one.bets
    )


def _with_rounds(result: Tested) -> Tested:
    """Return what a block says, with common rounds also where it has no prompts that could show
    them.

    Where prompts are there `Testing` takes rounds that do not show for a bet that is lost. Here
    every block is bet on, so that what it lacks is a lost bet, too.
    """
    if "clock" not in result.parts:
        return result
    return replace(result, parts={"rounds": -math.inf, **result.parts})


def _add(says: dict[str, _Says], group: ChosenGroup, result: Tested) -> None:
    mine = says.setdefault(group.candidate_id, _Says({}, {}))
    mine.bets |= {p: written(e) for p, e in result.parts.items() if p in group.follows}
    mine.carriers |= _places(group.parties, result, group.follows)


def _places(parties: Sequence[str], result: Tested, parts: Collection[Part]) -> Carriers:
    """Return places in a group of the parties in which parts show."""
    return {
        part: tuple(place for place, party in enumerate(parties) if party in names)
        for part, names in sorted(result.carriers.items())
        if part in parts and names
    }


def _handed(groups: Sequence[Sequence[str]], traffic: Traffic) -> list[Tested]:
    """Return what hand-offs say of groups of parties."""
    found: list[Tested] = [Tested({}, ()) for _ in groups]
    for number, (bet, names) in handed_on(traffic, groups).items():
        found[number] = Tested({"hand-off": bet.log_e}, (), {"hand-off": frozenset(names)})
    return found


def _chosen(
    testing: Testing, groups: Sequence[Chosen], new: Sequence[bool], day: str
) -> tuple[ChosenGroup, ...]:
    """Return the new ones of a day's groups, with what counts once or began before it."""
    # Spread is told by all groups that templates chose, known ones too.
    traits = testing.test_traits([(one.by, one.group) for one in groups])
    mine = [(one, result) for one, result, fresh in zip(groups, traits, new, strict=True) if fresh]
    customers = customers_in(testing.links)
    handed = _handed([one.group.parties for one, _ in mine], testing.traffic) if mine else []
    found = []
    for (one, result), before in zip(mine, handed, strict=True):
        parties = one.group.parties
        # Whoever is linked, if somebody is: the others of the group may be anybody.
        linked = sorted(set[str]().union(*result.carriers.values())) or parties
        found.append(
            ChosenGroup(
                candidate_id=candidate_id_of(one.by, day, parties),
                by=one.by,
                parties=parties,
                keys=one.group.keys,
                used=one.group.used,
                close=one.group.close,
                share_of_means=testing.links.share_of_means(parties),
                fits_one=customers.is_one(linked),
                fits_several=customers.are_several(linked),
                once={part: written(log_e) for part, log_e in result.parts.items()},
                bets={part: written(log_e) for part, log_e in before.parts.items()},
                follows=(follows := _follows(testing, one.by)),
                carriers=_places(parties, result, result.parts) | _places(parties, before, follows),
            )
        )
    return tuple(found)


def _follows(testing: Testing, by: Chooser) -> tuple[Part, ...]:
    """Return the parts that later days test a group by, as the columns are."""
    traffic = testing.traffic
    there: dict[Part, bool] = {
        "hand-off": traffic.is_on("hand-off") and traffic.is_on("template spread"),
        "clock": traffic.is_on("synchrony"),
        "rounds": traffic.is_on("synchrony") and testing.profiles is not None and by == "templates",
        "sharding": testing.profiles is not None and traffic.is_on("slot coverage"),
    }
    return tuple(part for part, on in there.items() if on)


def _alike(
    testing: Testing, following: Following, chosen: Sequence[ChosenGroup], place: int
) -> tuple[tuple[str, str], ...]:
    """Return pairs of a new candidate and one that is there, which are one campaign if both
    stand."""
    live = [one.group for one in following.candidates.values() if one.is_live(place - 1)]
    every = [*live, *chosen]
    pairs = Joining(testing.profiles, testing.links.rows).pairs([one.parties for one in every])
    return tuple(
        sorted(
            (every[one].candidate_id, every[other].candidate_id)
            for one, other in {(min(pair), max(pair)) for pair in pairs}
            if other >= len(live)
        )
    )
