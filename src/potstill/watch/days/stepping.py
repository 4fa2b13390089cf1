"""A day's line: what it says of candidates that were chosen before, and who is chosen on it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from ibis.backends.duckdb import Backend

from potstill.watch.campaigns import Grouping
from potstill.watch.days.daylog import Bets, Carriers, ChosenGroup, DayLine, GroupTested
from potstill.watch.days.following import (
    BLOCK_DAYS,
    WINDOW_DAYS,
    Followed,
    Following,
    candidate_id_of,
    written,
)
from potstill.watch.days.marks import accounts_active
from potstill.watch.evidence import Part
from potstill.watch.find import Chosen, Joining, choose, testing_of
from potstill.watch.ingest.store import TrafficStore
from potstill.watch.nulls import hand_off_log_e
from potstill.watch.signals.timing import hand_offs, handing_over
from potstill.watch.signals.traffic import Traffic, members_table, traffic_of
from potstill.watch.tally import Tested
from potstill.watch.testing import Testing

_LEAST_DAYS = 2


@dataclass(frozen=True)
class Reading:
    """Where days are read from; accounts that are `allowed` are left out."""

    store: TrafficStore
    backend: Backend
    days: tuple[str, ...]
    allowed: Collection[str]

    def traffic(self, last: int, count: int) -> Traffic:
        """Return the traffic of `count` days, the last of them at a place; of accounts those that
        made a request on them, so that nothing hangs on who comes later."""
        days = self.days[max(0, last - count + 1) : last + 1]
        table = accounts_active(self.store, days)
        return traffic_of(self.store, self.backend, days, table).without(self.allowed)


@dataclass
class _Says:
    """What a day says of one candidate."""

    bets: Bets
    carriers: Carriers


def day_line(reading: Reading, following: Following, place: int, chain: str) -> DayLine:
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
    groups = choose(testing.profiles, parties, testing.links.rows, testing.keyed)
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


def _tested(reading: Reading, following: Following, place: int) -> tuple[GroupTested, ...]:
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
            groups = [(one.group.by, Grouping(one.group.parties, ())) for one in ending]
            for one, result in zip(ending, testing.test_orders(groups), strict=True):
                _add(says, one.group, result)
    return tuple(
        GroupTested(candidate_id=name, bets=one.bets, carriers=one.carriers)
        for name, one in says.items()
        if one.bets
    )


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
    if not traffic.is_on("hand-off") or not traffic.is_on("template spread"):
        return found
    members = members_table(traffic, groups, "ps_members")
    counts: dict[int, dict[bool, tuple[int, int]]] = {}
    for row in traffic.rows(hand_offs(traffic, members)).to_pylist():
        counts.setdefault(row["group"], {})[row["refused"]] = (row["n"], row["followed"])
    names: dict[int, set[str]] = {}
    for row in traffic.rows(handing_over(traffic, members)).to_pylist():
        names.setdefault(row["group"], set()).add(row["party"])
    for number, of in counts.items():
        bet = hand_off_log_e(of.get(True, (0, 0)), of.get(False, (0, 0)))
        if bet is not None:
            carriers: Mapping[Part, frozenset[str]] = {"hand-off": frozenset(names.get(number, ()))}
            found[number] = Tested({"hand-off": bet.log_e}, (), carriers)
    return found


def _chosen(
    testing: Testing, groups: Sequence[Chosen], new: Sequence[bool], day: str
) -> tuple[ChosenGroup, ...]:
    """Return the new ones of a day's groups, with what counts once or began before it."""
    # Spread is told by all groups that templates chose, known ones too.
    traits = testing.test_traits([(one.by, one.group) for one in groups])
    mine = [(one, result) for one, result, fresh in zip(groups, traits, new, strict=True) if fresh]
    handed = _handed([one.group.parties for one, _ in mine], testing.traffic) if mine else []
    follows = _follows(testing)
    found = []
    for (one, result), before in zip(mine, handed, strict=True):
        parties = one.group.parties
        found.append(
            ChosenGroup(
                candidate_id=candidate_id_of(one.by, day, parties),
                by=one.by,
                parties=parties,
                once={part: written(log_e) for part, log_e in result.parts.items()},
                bets={part: written(log_e) for part, log_e in before.parts.items()},
                follows=follows,
                carriers=_places(parties, result, result.parts) | _places(parties, before, follows),
            )
        )
    return tuple(found)


def _follows(testing: Testing) -> tuple[Part, ...]:
    """Return the parts that later days are tested by, as the columns are."""
    traffic = testing.traffic
    there: dict[Part, bool] = {
        "hand-off": traffic.is_on("hand-off") and traffic.is_on("template spread"),
        "clock": traffic.is_on("synchrony"),
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
