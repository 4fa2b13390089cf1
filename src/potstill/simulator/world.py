"""A world set up: its groups, accounts, templates, and how much each account asks on each day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from potstill.simulator import people, rows, templates
from potstill.simulator.covers import COVERS, ORDINARY, USUAL
from potstill.simulator.groups import Group, groups_of
from potstill.simulator.hashing import keyed
from potstill.simulator.people import People
from potstill.simulator.rows import Rows
from potstill.simulator.spec import WorldSpec
from potstill.simulator.templates import Families

Ints = NDArray[np.int64]
Numbers = NDArray[np.int32]
# Requests of a mean ordinary account in a world.
_EACH = 60
_POPULAR, _TAKES_POPULAR = 60, 0.2
# Templates of the customers behind each account of a gateway.
_BEHIND = 40


@dataclass(frozen=True)
class WorldPart:
    """A group in its world: its accounts, its templates, its requests a day."""

    group: Group
    key: int
    first: int
    who: People
    own: Numbers
    """Template family of each account, then those that any of its requests may be of."""
    shared: Numbers
    usual: Numbers
    """Family of each account's unrelated requests."""
    related_DA: Ints
    unrelated_DA: Ints


@dataclass(frozen=True)
class World:
    """All that is drawn before the first request is."""

    spec: WorldSpec
    parts: list[WorldPart]
    families: Families
    everybody: People
    """Ordinary accounts first, then those of the groups, in order."""
    usual: Numbers
    """Family of each ordinary account."""
    ordinary_DA: Ints

    @property
    def kinds(self) -> list[str]:
        """The kind of each group; the last is that of the ordinary accounts."""
        return [part.group.kind for part in self.parts] + [ORDINARY]


class _Shelf:
    """Template families as they are drawn, numbered one after the other."""

    def __init__(self) -> None:
        self.parts: list[Families] = []
        self.count = 0

    def put(self, drawn: Families) -> Numbers:
        self.parts.append(drawn)
        self.count += len(drawn)
        return np.arange(self.count - len(drawn), self.count, dtype=np.int32)


def _rng(spec: WorldSpec, *what: int) -> np.random.Generator:
    return np.random.default_rng([spec.version, spec.seed, *what])


def _key(spec: WorldSpec, number: int) -> int:
    """Return a number of 62 bits that is this group's alone, in all worlds."""
    return int(keyed(spec.version * 2**40 + spec.seed, np.array([number]))[0]) >> 2


def built(spec: WorldSpec) -> World:
    """Set up a world; ValueError where its groups ask more than it has requests."""
    shelf, groups = _Shelf(), groups_of(spec)
    ordinary_requests = spec.requests - sum(g.accounts * g.look.rate * g.look.days for g in groups)
    count = max(50, round(ordinary_requests / _EACH))
    rng, world_key = _rng(spec, 3), _key(spec, 2**31)
    ordinary = people.ordinary(rng, world_key, len(groups), count, spec.days)
    usual = shelf.put(templates.ordinary(rng, USUAL, count))
    popular = shelf.put(templates.ordinary(rng, USUAL, _POPULAR))
    rank = np.minimum(rng.geometric(0.08, size=count) - 1, _POPULAR - 1)
    usual = np.where(rng.random(count) < _TAKES_POPULAR, popular[rank], usual)
    public = templates.public_systems(rng)
    parts, first = [], count
    for number, group in enumerate(groups):
        part = _part(spec, shelf, number, group, first, world_key, public)
        parts.append(part)
        first += group.accounts
    asked = sum(int(p.related_DA.sum() + p.unrelated_DA.sum()) for p in parts)
    if asked > spec.requests:
        raise ValueError(
            f"campaigns and awkward groups ask {asked:,} requests of {spec.requests:,}: take "
            "more requests, or fewer campaigns"
        )
    return World(
        spec=spec,
        parts=parts,
        families=templates.joined(shelf.parts),
        everybody=people.joined([ordinary, *(part.who for part in parts)]),
        usual=usual,
        ordinary_DA=_ordinary_counts(spec, ordinary, spec.requests - asked),
    )


def _part(
    spec: WorldSpec, shelf: _Shelf, number: int, group: Group, first: int, world_key: int,
    public: dict[str, np.ndarray],
) -> WorldPart:  # fmt: skip
    rng = _rng(spec, 4, number)
    look, relation, cover = group.look, group.relation, COVERS[group.look.cover]
    who = people.of_group(rng, world_key, number, group, cover)
    loose = 1.0 if cover.grammar == "chat" else look.paraphrase
    systems = public.get(look.cover, np.zeros(0, dtype=np.uint64))
    wanted = relation.templates or group.accounts * (_BEHIND if relation.by_row else 1)
    made = shelf.put(templates.families(rng, cover, wanted, look.intent, loose, systems))
    usual = made[:0]
    if look.mix:
        usual = shelf.put(templates.ordinary(rng, USUAL, group.accounts))
    days = [rows.counts(rng, group, who, day) for day in range(spec.days)]
    return WorldPart(
        group=group,
        key=_key(spec, number),
        first=first,
        who=who,
        own=made if not relation.templates else np.resize(made, group.accounts),
        shared=made if relation.templates else made[:0],
        usual=usual,
        related_DA=np.array([day[0] for day in days]),
        unrelated_DA=np.array([day[1] for day in days]),
    )


def _ordinary_counts(spec: WorldSpec, ordinary: People, total: int) -> Ints:
    """Share out the requests that groups leave over days and ordinary accounts."""
    rng = _rng(spec, 5)
    weekday = np.array([rows.day_weight(USUAL, day) for day in range(spec.days)])
    by_day = rng.multinomial(total, weekday / weekday.sum())
    # An account is active on some days only.
    active = rng.random((spec.days, len(ordinary))) < 0.6
    active[:, int(np.argmax(ordinary.weight))] = True
    weight = ordinary.weight * active
    return np.array([rng.multinomial(n, w / w.sum()) for n, w in zip(by_day, weight, strict=True)])


def day_of(world: World, day: int) -> Rows:
    """Return all requests of a day, in order of time."""
    spec = world.spec
    no_spread = world.usual[:0]
    count = world.ordinary_DA.shape[1]
    rng = _rng(spec, 6, day)
    adoption = 0.15 if day >= spec.launch_day else 0.0
    ordinary = people.first_of(world.everybody, count)
    parts = [rows.unrelated(
        rng, ordinary, 0, world.ordinary_DA[day], world.usual, no_spread, adoption
    )]  # fmt: skip
    for number, part in enumerate(world.parts):
        parts += _of_part(world, part, number, day)
    found = rows.joined(parts)
    return rows.taken(found, np.argsort(found.second, kind="stable"))


def _of_part(world: World, part: WorldPart, number: int, day: int) -> Iterator[Rows]:
    rng = _rng(world.spec, 7, number, day)
    group = part.group
    if part.related_DA[day].any():
        yield rows.related(
            rng, group, part.key, part.who, part.first, part.related_DA[day], day, part.own,
            part.shared, int(part.related_DA[:day].sum()),
        )  # fmt: skip
    if part.unrelated_DA[day].any():
        spread = world.usual if group.relation.relay else world.usual[:0]
        yield rows.unrelated(
            rng, part.who, part.first, part.unrelated_DA[day], part.usual, spread, 0.15
        )
