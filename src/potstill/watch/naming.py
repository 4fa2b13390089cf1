"""Who is named of the groups that stand, and which groups are one campaign.

Tests are of whole groups; which of a group's parties are named is said here, with no error of its
own. What holds shows in some parties (they carry it). Others of the group are named beside them
where the template is theirs alone; of a public one, which a campaign's accounts use as many others
do, only they.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from potstill.watch.campaigns import LEAST_PARTIES, Grouping

# All of a group's parties may be named if such a share carries what holds: of a close group, and of
# a loose one.
_CARRIED, _CARRIED_LOOSE = 0.2, 0.35
# Those who carry it are of several campaigns with one client if they are of several lots that share
# something, each such a part of those that are of any, and these half of all.
_LOT, _LOTS = 0.2, 0.5
# A group is at home elsewhere if half of those who carry it carry so much larger a share there.
_AT_HOME = 1.25


@dataclass(frozen=True)
class StandingGroup:
    """A group that stands: its parties, those that carry what holds, those who are named if the
    template is theirs, whether templates chose it whose users have little in common, and whether
    what its parties share chose it."""

    parties: tuple[str, ...]
    carrying: tuple[str, ...]
    widened: tuple[str, ...]
    loose: bool
    linked: bool = False


@dataclass(frozen=True)
class NamedParties:
    """A group's place among those that stand, and who is named of it; `late` tells that closer
    groups name half of those who carry it, so that it makes no campaign by itself."""

    place: int
    parties: tuple[str, ...]
    late: bool = False


def widened(
    group: Grouping, carrying: Sequence[str], share: float = 0.0, several: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the parties of a group that are named, given those in whom what holds shows.

    `share` is in how many of them anything shows, or how many of those that could have means in
    common have. Where that is a third of a group that keys chose, or a fifth and the group's keys
    hang together closely, the template is theirs: who uses half as much of it as they do is named
    too. In few users of a public template anything shows. Tenants of `several` accounts are named
    for what they carry alone.
    """
    used, mine = dict(zip(group.parties, group.used, strict=False)), set(carrying)
    if used and len(mine) == len(group.parties):
        # What shows in nobody by himself is that of those who use the keys most.
        least = sum(n * n for n in group.used) / sum(group.used) / 4
        return tuple(one for one in group.parties if used[one] >= least)
    share = max(share, len(carrying) / max(len(group.parties), 1))
    if not used or not carrying or share < (_CARRIED if group.close else _CARRIED_LOOSE):
        return tuple(carrying)
    least = median(used[party] for party in carrying) / 2
    return tuple(
        one for one in group.parties if one in mine or (used[one] >= least and one not in several)
    )


def named(
    groups: Sequence[StandingGroup],
    sharing: Iterable[Sequence[str]] = (),
    lots: Iterable[Sequence[str]] = (),
) -> list[NamedParties]:
    """Return who is named of groups that stand, which come best first.

    Whoever carries what holds in several groups is at home where such make up most of the group. A
    group's other parties are named only where half of those that carry it are at home: in all else
    that a campaign's accounts do they are guests among its users. So are they where they are fewer
    than half of a group of `sharing` (who have cards, devices or a relay in common, whether that
    stands or not) that half of them are in. Groups whose keys hang together loosely may hold
    several campaigns and others between them: where half of those that carry it are named by closer
    ones such a group is late, comes last, and those who carry it are named alone. Those who carry
    it are named lot by lot where they are of several `lots`, groups that stand by what they share
    (`together` may find these to be one campaign). What fewer than `LEAST_PARTIES` carry is named
    no more than a smaller group is tested.
    """
    guests, apart = _guests(groups) | _few_of(groups, sharing), [frozenset(lot) for lot in lots]
    found, before = [], set[str]()
    for place in sorted(range(len(groups)), key=lambda one: groups[one].loose):
        group = groups[place]
        late = group.loose and 2 * len(before & set(group.carrying)) >= len(group.carrying)
        parties = group.carrying if late or place in guests else group.widened
        each = [parties] if late else _parted(group.carrying, apart) or [parties]
        for mine in each:
            if len(mine) >= LEAST_PARTIES:
                found.append(NamedParties(place, mine, late))
                before |= set() if late or group.linked else set(mine)
    return sorted(found, key=lambda one: (one.late, one.place))


def _guests(groups: Sequence[StandingGroup]) -> set[int]:
    """Return places of groups half of whose carrying parties are at home in another one."""
    # Of a group that its links chose all carry it anyway.
    share = [0.0 if one.linked else len(one.carrying) / max(len(one.parties), 1) for one in groups]
    of_party: dict[str, list[int]] = defaultdict(list)
    for place, group in enumerate(groups):
        for party in group.carrying:
            of_party[party].append(place)
    found = set()
    for place, group in enumerate(groups):
        common = Counter(other for party in group.carrying for other in of_party[party])
        if any(
            2 * n >= len(group.carrying) and share[other] > _AT_HOME * share[place]
            for other, n in common.items()
        ):
            found.add(place)
    return found


def _few_of(groups: Sequence[StandingGroup], sharing: Iterable[Collection[str]]) -> set[int]:
    """Return places of groups half of whose carrying parties are fewer than half of those who
    share something."""
    of_party: dict[str, list[int]] = defaultdict(list)
    size = []
    for number, parties in enumerate(sharing):
        size.append(len(parties))
        for party in parties:
            of_party[party].append(number)
    found = set()
    for place, group in enumerate(groups):
        common = Counter(one for party in group.carrying for one in of_party.get(party, ()))
        if any(2 * n >= len(group.carrying) and 2 * n < size[one] for one, n in common.items()):
            found.add(place)
    return found


def _parted(carrying: Sequence[str], lots: Sequence[frozenset[str]]) -> list[tuple[str, ...]]:
    """Return those who carry it lot by lot, where two lots or more that have nobody in common are
    large parts of them; nothing where they are not."""
    mine = set(carrying)
    large = [mine & lot for lot in lots if len(mine & lot) >= LEAST_PARTIES]
    any_of = set[str]().union(*large)
    large = [some for some in large if len(some) >= _LOT * len(any_of)]
    apart = sum(map(len, large)) == len(set[str]().union(*large))
    if len(large) < 2 or not apart or len(any_of) < _LOTS * len(carrying):
        return []
    return [tuple(one for one in carrying if one in some) for some in large]


def lots_of(
    linked: Sequence[Sequence[str]], joined: Iterable[tuple[int, int]]
) -> list[tuple[str, ...]]:
    """Return the lots that groups come to which what they share chose: `joined` ones are one."""
    found: dict[int, set[str]] = defaultdict(set)
    for parties, first in zip(linked, _firsts(len(linked), joined), strict=True):
        found[first].update(parties)
    return [tuple(sorted(parties)) for parties in found.values()]


def _firsts(count: int, joined: Iterable[tuple[int, int]]) -> list[int]:
    """Return the first place that each of so many hangs together with."""
    home = list(range(count))

    def first(one: int) -> int:
        while home[one] != one:
            one = home[one]
        return one

    for one, other in joined:
        low, high = sorted((first(one), first(other)))
        home[high] = low
    return [first(one) for one in range(count)]


def together(
    groups: Sequence[NamedParties], joined: Iterable[tuple[int, int]] = ()
) -> list[list[int]]:
    """Return places among groups, as `named` has them, by what they come to: a campaign each.

    Groups that `joined` says are one are. Each other one is of the campaign that it shares most
    parties with, if that is half of the smaller of both. It makes no one of two campaigns that were
    apart without it: a template may be used by the accounts of both. A late group is of the
    campaign that half of its parties are of, and nine tenths of those that are of any; else it is
    in none.
    """
    parts: dict[int, list[int]] = defaultdict(list)
    for place, first in enumerate(_firsts(len(groups), joined)):
        if not groups[place].late:
            parts[first].append(place)
    campaigns: list[tuple[list[int], set[str]]] = []
    for places in sorted(parts.values()):
        mine = set[str]().union(*(groups[one].parties for one in places))
        best, n = max(
            ((one, len(mine & held)) for one, (_, held) in enumerate(campaigns)),
            key=lambda pair: (pair[1], -pair[0]),
            default=(0, 0),
        )
        if n and 2 * n >= min(len(mine), len(campaigns[best][1])):
            campaigns[best][0].extend(places)
            campaigns[best][1].update(mine)
        else:
            campaigns.append((list(places), mine))
    known = [frozenset(held) for _, held in campaigns]
    for place, group in enumerate(groups):
        if group.late:
            counts = [len(held & set(group.parties)) for held in known]
            most = max(counts, default=0)
            if 2 * most >= len(group.parties) and 10 * most >= 9 * sum(counts):
                campaigns[counts.index(most)][0].append(place)
    return sorted(sorted(places) for places, _ in campaigns)
