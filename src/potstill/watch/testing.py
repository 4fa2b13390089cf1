"""Groups tested: the figures of every signal, and the evidence of each part about each group."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from potstill.stats.evalues import average_log_e
from potstill.watch.campaigns import Grouping
from potstill.watch.evidence import Chooser, Part, SignalFinding
from potstill.watch.judging import FAMILY
from potstill.watch.likeness import Profiles
from potstill.watch.nulls import (
    PlacedBet,
    askers_log_e,
    hand_off_log_e,
    links_log_e,
)
from potstill.watch.orders import acting_together, sharding_log_e, synchrony_log_e
from potstill.watch.signals.content import marks, of_templates, slot_values
from potstill.watch.signals.intent import asking
from potstill.watch.signals.links import MEANS, PLACES, TOGETHER, strata
from potstill.watch.signals.timing import hand_offs, handing_over, minutes, moments
from potstill.watch.signals.traffic import Traffic, members_table

Ints = NDArray[np.int64]
_NULLS: Mapping[str, str] = {
    "slot coverage": "each party's days shuffled by themselves",
    "synchrony": "each party turned by whole days, or inside the hour by the others' volume",
    "complementary load": "each party turned by whole days, or inside the hour by others' volume",
    "hand-off": "refused requests are repeated by others as often as answered ones",
    "shared": "parties drawn at random within time zone and product",
    "intent": "parties drawn at random within time zone and product",
}
_SIGNALS: Mapping[str, str] = {
    "payment": "shared payment",
    "device": "shared device",
    "relay": "shared client address",
    "subnet": "shared network of accounts",
    "email_domain": "shared e-mail domain",
    "client network": "shared client address",
    TOGETHER: "accounts opened together",
    "reasoning": "reasoning elicitation",
    "rubric": "rubric and reward prompts",
}
# A family is named as held from this ln E on; whether a group stands is e-BH's alone.
HELD = math.log(20)
# A stratum of fewer parties goes with its zone's other small ones.
STRATUM = 50
# A value that more parties have, and more than a hundredth of all, is no link.
RARE = 100
# Of each signal of the clock: whether parties avoid one another, and minutes of the bins.
_CLOCK: tuple[tuple[str, bool, tuple[int, ...]], ...] = (
    ("synchrony", False, (1, 5)),
    ("complementary load", True, (30,)),
)


@dataclass(frozen=True)
class Tested:
    """What testing a group gave: ln E of each part that could be tested, and every figure.

    `carriers` has the parties in which a part shows, for parts where that can be told.
    """

    parts: dict[Part, float]
    signals: tuple[SignalFinding, ...]
    carriers: Mapping[Part, frozenset[str]] = field(default_factory=dict)

    def carried_by(self, parties: Sequence[str]) -> tuple[str, ...]:
        """Return those of a group's parties in which something shows that holds.

        All where a part holds that is not told party by party, or none does.
        """
        held = [part for part, log_e in self.parts.items() if log_e >= HELD]
        if not held or any(part not in self.carriers for part in held):
            return tuple(parties)
        carrying = frozenset().union(*(self.carriers[part] for part in held))
        return tuple(one for one in parties if one in carrying)


@dataclass
class _Tally:
    """Evidence as it comes in, by part."""

    found: dict[Part, list[float]] = field(default_factory=dict)
    signals: list[SignalFinding] = field(default_factory=list)
    carriers: dict[Part, set[str]] = field(default_factory=dict)

    def add(
        self,
        part: Part,
        signal: str,
        null: str,
        evidence: PlacedBet | None,
        *,
        chosen: bool = False,
        carriers: Callable[[], Iterable[str]] | None = None,
    ) -> None:
        """Take a figure in; of what `chosen` tells that it chose the group it is no evidence.

        Where the figure holds, `carriers` says in which parties.
        """
        if evidence is None:
            return
        if not chosen:
            self.found.setdefault(part, []).append(evidence.log_e)
            if carriers is not None and evidence.log_e >= HELD:
                self.carriers.setdefault(part, set()).update(carriers())
        self.signals.append(
            SignalFinding(
                signal=signal,
                family=FAMILY[part],
                part=part,
                observed=round(evidence.observed, 3),
                expected=round(evidence.expected, 3),
                null=null,
                log10_e=None if chosen else round(max(evidence.log_e / math.log(10), -3.0), 3),
                chosen=chosen,
            )
        )

    def tested(self) -> Tested:
        parts = {
            part: average_log_e(bets) if max(bets) > -math.inf else -math.inf
            for part, bets in self.found.items()
        }
        carriers = {part: frozenset(names) for part, names in self.carriers.items()}
        return Tested(parts, tuple(self.signals), carriers)


@dataclass(frozen=True)
class Testing:
    """All parties, in order, with what is the same for every group."""

    traffic: Traffic
    place: dict[str, int]
    stratum_N: Ints
    shared: pa.Table
    profiles: Profiles | None
    notes: tuple[str, ...]

    @classmethod
    def of(cls, traffic: Traffic, shared: pa.Table, profiles: Profiles | None) -> Testing:
        """Return what testing needs of a store's traffic, of its links in rows, and of profiles."""
        rows = traffic.rows(strata(traffic))
        place = {party: number for number, party in enumerate(rows["party"].to_pylist())}
        strata_N = _pooled(rows["zone"].to_pylist(), rows["used"].to_pylist())
        _, stratum_N = np.unique(np.array(strata_N), return_inverse=True)
        notes: tuple[str, ...] = ()
        if len(traffic.days) < 2:
            notes = (
                "the store holds one day: what is tested by days (slot coverage, synchrony, "
                "complementary load) is off below two",
            )
        return cls(traffic, place, stratum_N.astype(np.int64), shared, profiles, notes)

    def test(self, groups: Sequence[tuple[Chooser, Grouping]]) -> list[Tested]:
        """Return what every signal says of each group, but what chose it."""
        tallies = [_Tally() for _ in groups]
        if groups:
            members = self._members_of(groups)
            self._content(groups, members, tallies)
            self._links(groups, tallies)
            self._spread(groups, tallies)
            self._time(members, tallies)
            self._intent(groups, tallies)
        return [tally.tested() for tally in tallies]

    def test_traits(self, groups: Sequence[tuple[Chooser, Grouping]]) -> list[Tested]:
        """Return what hangs on no day says of each group: links, template spread, intent."""
        tallies = [_Tally() for _ in groups]
        self._links(groups, tallies)
        self._spread(groups, tallies)
        self._intent(groups, tallies)
        return [tally.tested() for tally in tallies]

    def test_orders(self, groups: Sequence[tuple[Chooser, Grouping]]) -> list[Tested]:
        """Return what the order of days and moments says of each group: slot coverage, clock."""
        tallies = [_Tally() for _ in groups]
        if groups:
            members = self._members_of(groups)
            self._content(groups, members, tallies)
            self._clock(members, tallies)
        return [tally.tested() for tally in tallies]

    def _members_of(self, groups: Sequence[tuple[Chooser, Grouping]]) -> ir.Table:
        return members_table(self.traffic, (one.parties for _, one in groups), "ps_members")

    def _members(self, group: Grouping) -> list[int]:
        return [self.place[party] for party in group.parties if party in self.place]

    def _content(
        self,
        groups: Sequence[tuple[Chooser, Grouping]],
        members: ir.Table,
        tallies: Sequence[_Tally],
    ) -> None:
        if self.profiles is None or not self.traffic.is_on("slot coverage"):
            return
        for number, rows in _by_group(self.traffic.rows(slot_values(self.traffic, members))):
            pieces = self.profiles.pieces_of(groups[number][1].parties)
            rows = rows.filter(pa.array(of_templates(rows["prompt_sketch"], pieces)))
            party, day = _codes(rows["party"]), _ints(rows["day"])
            found = sharding_log_e(party, day, *marks(rows))
            tallies[number].add("sharding", "slot coverage", _NULLS["slot coverage"], found)

    def _links(self, groups: Sequence[tuple[Chooser, Grouping]], tallies: Sequence[_Tally]) -> None:
        rows = self.shared.to_pylist()
        sides: tuple[tuple[Part, tuple[str, ...]], ...] = (
            ("means", MEANS),
            ("places", (*PLACES, TOGETHER)),
        )
        for part, kinds in sides:
            for kind in kinds:
                mine = sorted((r["party"], r["value"]) for r in rows if r["kind"] == kind)
                if not mine:
                    continue
                value_N = self._values(mine)
                value_of = {
                    party: value
                    for party, value in mine
                    if party in self.place and value_N[self.place[party]] >= 0
                }
                for (by, group), tally in zip(groups, tallies, strict=True):
                    if by == "templates":
                        found = links_log_e(self._members(group), self.stratum_N, value_N)
                        tally.add(
                            part, _SIGNALS[kind], _NULLS["shared"], found,
                            carriers=partial(_sharing, group.parties, value_of),
                        )  # fmt: skip

    def _spread(
        self, groups: Sequence[tuple[Chooser, Grouping]], tallies: Sequence[_Tally]
    ) -> None:
        """Test whether those whom means join have templates in common, as strangers have not."""
        value_of = {
            party: str(number)
            for number, (by, group) in enumerate(groups)
            if by == "templates"
            for party in group.parties
        }
        value_N = self._values(sorted(value_of.items()))
        for (by, group), tally in zip(groups, tallies, strict=True):
            if by == "means":
                found = links_log_e(self._members(group), self.stratum_N, value_N)
                tally.add(
                    "spread", "template spread", _NULLS["shared"], found,
                    carriers=partial(_sharing, group.parties, value_of),
                )  # fmt: skip

    def _values(self, mine: Sequence[tuple[str, str]]) -> Ints:
        """Return a number for each party's value; -1 for none, and for one that very many have.

        What a mail provider's customers share is no link, and would drown those that are.
        """
        count = Counter(value for _, value in mine)
        rare = max(RARE, len(self.place) // 100)
        number = {value: n for n, value in enumerate(sorted(count)) if count[value] <= rare}
        value_N = np.full(len(self.place), -1, np.int64)
        for party, value in mine:
            if party in self.place:
                value_N[self.place[party]] = number.get(value, -1)
        return value_N

    def _time(self, members: ir.Table, tallies: Sequence[_Tally]) -> None:
        self._clock(members, tallies)
        if self.traffic.is_on("hand-off") and self.traffic.is_on("template spread"):
            self._hand_offs(members, tallies)

    def _clock(self, members: ir.Table, tallies: Sequence[_Tally]) -> None:
        products, volume = self._volume()
        for number, rows in _by_group(self.traffic.rows(moments(self.traffic, members))):
            party, day, second = _codes(rows["party"]), _ints(rows["day"]), _ints(rows["second"])
            product = _ints(pc.index_in(rows["product"], products))
            acts = (party, day, second, product, _without(volume, product, day, second))
            names = pc.unique(rows["party"]).to_pylist()
            for signal, apart, widths in _CLOCK:
                found = synchrony_log_e(*acts, widths=widths, apart=apart)
                carriers = partial(_acting, names, acts, widths[0], apart)
                tallies[number].add("clock", signal, _NULLS[signal], found, carriers=carriers)

    def _hand_offs(self, members: ir.Table, tallies: Sequence[_Tally]) -> None:
        counts: dict[int, dict[bool, tuple[int, int]]] = {}
        for row in self.traffic.rows(hand_offs(self.traffic, members)).to_pylist():
            counts.setdefault(row["group"], {})[row["refused"]] = (row["n"], row["followed"])
        handing: dict[int, list[str]] = {}
        for row in self.traffic.rows(handing_over(self.traffic, members)).to_pylist():
            handing.setdefault(row["group"], []).append(row["party"])
        for number, of in sorted(counts.items()):
            found = hand_off_log_e(of.get(True, (0, 0)), of.get(False, (0, 0)))
            carriers = partial(sorted, handing.get(number, []))
            tallies[number].add(
                "hand-off", "hand-off", _NULLS["hand-off"], found, carriers=carriers
            )

    def _intent(
        self, groups: Sequence[tuple[Chooser, Grouping]], tallies: Sequence[_Tally]
    ) -> None:
        if not self.traffic.is_on("reasoning elicitation"):
            return
        rows = self.traffic.rows(asking(self.traffic)).to_pylist()
        for name in ("reasoning", "rubric"):
            asks_N = np.full(len(self.place), -1, np.int64)
            for row in rows:
                asks_N[self.place[row["party"]]] = int(row[name])
            for (by, group), tally in zip(groups, tallies, strict=True):
                found = askers_log_e(self._members(group), self.stratum_N, asks_N)
                # Who has a template in common asks alike, on other days, too.
                chosen = by == "templates"
                tally.add(
                    "intent", _SIGNALS[name], _NULLS["intent"], found, chosen=chosen,
                    carriers=partial(_asking, group.parties, asks_N, self.place),
                )  # fmt: skip

    def _volume(self) -> tuple[pa.Array, dict[tuple[int, int], Ints]]:
        """Return the products, and the requests of each minute by a product's place and day."""
        rows = self.traffic.rows(minutes(self.traffic))
        products = rows["product"].unique()
        place = _ints(pc.index_in(rows["product"], products)).tolist()
        found: dict[tuple[int, int], Ints] = {}
        columns = (rows[name].to_pylist() for name in ("day", "minute", "n"))
        for product, day, minute, n in zip(place, *columns, strict=True):
            found.setdefault((product, day), np.zeros(1_440, np.int64))[minute] = n
        return products, found


def _pooled(zone_N: Sequence[str], product_N: Sequence[str]) -> list[str]:
    """Return each party's stratum, its zone and product; a small one is its zone's rest.

    What a few use is used by a campaign's own accounts alone, beside which it would not show.
    """
    size = Counter(zip(zone_N, product_N, strict=True))
    return [
        f"{zone}|{product}" if size[zone, product] >= STRATUM else f"{zone}|"
        for zone, product in zip(zone_N, product_N, strict=True)
    ]


def _without(
    volume: Mapping[tuple[int, int], Ints], product_R: Ints, day_R: Ints, second_R: Ints
) -> dict[tuple[int, int], Ints]:
    """Return the volume of the others on the products and days of a group."""
    found = {}
    for product, day in np.unique(np.stack([product_R, day_R]), axis=1).T.tolist():
        mine = second_R[(product_R == product) & (day_R == day)] // 60
        found[product, day] = volume[product, day] - np.bincount(mine, minlength=1_440)
    return found


def _sharing(parties: Iterable[str], value_of: Mapping[str, str]) -> list[str]:
    """Return the parties whose value another one of them has."""
    mine = {party: value_of[party] for party in parties if party in value_of}
    shared = Counter(mine.values())
    return [party for party, value in mine.items() if shared[value] > 1]


def _asking(parties: Iterable[str], asks_N: Ints, place: Mapping[str, int]) -> list[str]:
    return [party for party in parties if party in place and asks_N[place[party]] == 1]


def _acting(
    names: Sequence[str],
    acts: tuple[Ints, Ints, Ints, Ints, Mapping[tuple[int, int], Ints]],
    width: int,
    apart: bool,
) -> list[str]:
    """Return the parties that act together; the codes in `acts` begin at 1, in order of names."""
    return [names[code - 1] for code in acting_together(*acts, width=width, apart=apart)]


def _by_group(rows: pa.Table) -> list[tuple[int, pa.Table]]:
    """Return rows, which are sorted by `group`, group by group."""
    if not rows.num_rows:
        return []
    group = _ints(rows["group"])
    edges = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(group)]
    return [(int(group[a]), rows.slice(a, b - a)) for a, b in itertools.pairwise(edges)]


def _codes(column: pa.ChunkedArray) -> Ints:
    """Return a number for each value, in the values' order."""
    return _ints(pc.rank(column, tiebreaker="dense"))


def _ints(column: pa.ChunkedArray | pa.Array) -> Ints:
    return np.asarray(column).astype(np.int64)
