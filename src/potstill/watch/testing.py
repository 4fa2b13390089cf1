"""Groups tested: the figures of every signal, and the evidence of each part about each group."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from potstill.watch.campaigns import Grouping
from potstill.watch.clock import acts_of, synchrony_log_e
from potstill.watch.evidence import Chooser, Part
from potstill.watch.group_rows import (
    acting,
    asked_in,
    asking_so,
    ints,
    named,
    sharing,
    templates_of,
    volume_without,
)
from potstill.watch.judging import attainable_log_e, counts, two_families_log_e
from potstill.watch.likeness import Profiles
from potstill.watch.nulls import PlacedBet, hand_off_log_e
from potstill.watch.orders import sharding_log_e
from potstill.watch.rounds import on_their_own, shifted_log_e
from potstill.watch.signals.content import asked_with, marks, of_templates, slot_values
from potstill.watch.signals.intent import asking
from potstill.watch.signals.links import MEANS, PLACES, TOGETHER, strata
from potstill.watch.signals.timing import hand_offs, handing_over, minutes, moments, subjects
from potstill.watch.signals.traffic import Traffic, members_table
from potstill.watch.sketches import slots_of
from potstill.watch.strata import Strata
from potstill.watch.tallies import HELD, GroupTally, Tested

Ints = NDArray[np.int64]
_NULLS: Mapping[str, str] = {
    "slot coverage": "each party's days shuffled by themselves",
    "synchrony": "each party turned by whole days, or inside the hour by the others' volume, or "
    "its hours in another order",
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
# More than e-BH rounds by.
_SLACK = 1e-6
# A value that more parties have, and more than a hundredth of all, is no link.
RARE = 100
# Of each signal of the clock: whether parties avoid one another, and minutes of the bins.
_CLOCK: tuple[tuple[str, bool, tuple[int, ...]], ...] = (
    ("synchrony", False, (1, 5)),
    ("complementary load", True, (30,)),
)


@dataclass(frozen=True)
class Testing:
    """All parties, in order, with what is the same for every group."""

    traffic: Traffic
    strata: Strata
    shared: pa.Table
    profiles: Profiles | None
    keyed: tuple[Grouping, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        traffic: Traffic,
        shared: pa.Table,
        profiles: Profiles | None,
        keyed: Sequence[Grouping] = (),
    ) -> Testing:
        """Return what testing needs of a store's traffic, of its links in rows, of profiles and of
        the groups whose clients ask alike."""
        rows = traffic.rows(strata(traffic))
        known = Strata.of(*(rows[name].to_pylist() for name in ("party", "zone", "used")))
        notes: tuple[str, ...] = ()
        if len(traffic.days) < 2:
            notes = (
                "the store holds one day: what is tested by days (slot coverage, synchrony, "
                "complementary load) is off below two",
            )
        return cls(traffic, known, shared, profiles, tuple(keyed), notes)

    def test(self, groups: Sequence[tuple[Chooser, Grouping]], worth: float) -> list[Tested]:
        """Return what every signal says of each group, but what chose it.

        What is dear is not tried about groups that cannot come to ln E of `worth` by it.
        """
        tallies = [GroupTally() for _ in groups]
        if groups:
            self._links(groups, tallies)
            self._spread(groups, tallies)
            if self.traffic.is_on("hand-off") and self.traffic.is_on("template spread"):
                self._hand_offs(self._members_of(groups), tallies)
            self._intent(groups, tallies)
            self._orders(groups, tallies, worth)
        return [tally.tested() for tally in tallies]

    def _orders(
        self,
        groups: Sequence[tuple[Chooser, Grouping]],
        tallies: Sequence[GroupTally],
        worth: float = -math.inf,
    ) -> None:
        """Test by clock and by slot coverage; who stands by the latter alone is told the former."""
        asked = self._asked(groups)
        clock = self._worth(groups, tallies, ("clock", "rounds"), ("sharding",), worth)
        self._clock(groups, asked_in(asked, clock), tallies)
        content = self._worth(groups, tallies, ("sharding",), (), worth)
        self._content(groups, asked_in(asked, content), tallies)
        stand = [
            number
            for number, (by, _) in enumerate(groups)
            if number not in clock and two_families_log_e(by, tallies[number].parts()) >= worth
        ]
        self._clock(groups, asked_in(asked, stand), tallies)

    def _worth(
        self,
        groups: Sequence[tuple[Chooser, Grouping]],
        tallies: Sequence[GroupTally],
        next_ones: tuple[Part, ...],
        later: tuple[Part, ...],
        worth: float,
    ) -> list[int]:
        """Return the groups that the next parts are tried on, which come before later ones."""
        found = []
        for number, (by, _) in enumerate(groups):
            most = attainable_log_e(by, tallies[number].parts(), (*next_ones, *later))
            says = any(counts(by, part) for part in next_ones)
            if worth == -math.inf or (says and most >= worth - _SLACK):
                found.append(number)
            else:
                tallies[number].untested.extend(next_ones)
        return found

    def test_traits(self, groups: Sequence[tuple[Chooser, Grouping]]) -> list[Tested]:
        """Return what hangs on no day says of each group: links, template spread, intent."""
        tallies = [GroupTally() for _ in groups]
        self._links(groups, tallies)
        self._spread(groups, tallies)
        self._intent(groups, tallies)
        return [tally.tested() for tally in tallies]

    def test_orders(self, groups: Sequence[tuple[Chooser, Grouping]]) -> list[Tested]:
        """Return what the order of days and moments says of each group: slot coverage, clock."""
        tallies = [GroupTally() for _ in groups]
        if groups:
            self._orders(groups, tallies)
        return [tally.tested() for tally in tallies]

    def _asked(self, groups: Sequence[tuple[Chooser, Grouping]]) -> ir.Table:
        return asked_with(self.traffic, [group for _, group in groups], "ps_asked")

    def _members_of(self, groups: Sequence[tuple[Chooser, Grouping]]) -> ir.Table:
        return members_table(self.traffic, (one.parties for _, one in groups), "ps_members")

    @property
    def rare(self) -> int:
        """How many parties may have a value that joins any of them."""
        return max(RARE, len(self.strata.place) // 100)

    def _content(
        self,
        groups: Sequence[tuple[Chooser, Grouping]],
        asked: ir.Table,
        tallies: Sequence[GroupTally],
    ) -> None:
        if self.profiles is None or not self.traffic.is_on("slot coverage"):
            return
        for number, rows in self.traffic.by_group(slot_values(self.traffic, asked)):
            group = groups[number][1]
            if not group.keys:
                pieces = self.profiles.pieces_of(group.parties)
                rows = rows.filter(pa.array(of_templates(rows["prompt_sketch"], pieces)))
            party, day = named(rows["party"])[1], ints(rows["day"])
            least = 2 * len(np.unique(day))
            found = sharding_log_e(party, day, *marks(rows, least))
            tallies[number].add("sharding", "slot coverage", _NULLS["slot coverage"], found)

    def _links(
        self, groups: Sequence[tuple[Chooser, Grouping]], tallies: Sequence[GroupTally]
    ) -> None:
        rows = self.shared.to_pylist()
        mine_G = [number for number, (by, _) in enumerate(groups) if by == "templates"]
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
                    if party in self.strata.place and value_N[self.strata.place[party]] >= 0
                }
                bet = self.strata.sharing_bets(value_N)
                for number in mine_G:
                    group = groups[number][1]
                    tallies[number].add(
                        part, _SIGNALS[kind], _NULLS["shared"], bet(group),
                        carriers=partial(sharing, group.parties, value_of),
                    )  # fmt: skip
                if kind == "relay":
                    self._common(groups, tallies, mine)

    def _common(
        self,
        groups: Sequence[tuple[Chooser, Grouping]],
        tallies: Sequence[GroupTally],
        mine: Sequence[tuple[str, str]],
    ) -> None:
        """Test the relays that so many come from that they are no link."""
        count = Counter(value for _, value in mine)
        value_of = {party: value for party, value in mine if count[value] > self.rare}
        value_N = np.full(len(self.strata.place), -1, np.int64)
        number = {value: n for n, value in enumerate(sorted(set(value_of.values())))}
        for party, value in value_of.items():
            value_N[self.strata.place[party]] = number[value]
        bet = self.strata.common_bets(value_N)
        for (by, group), tally in zip(groups, tallies, strict=True):
            if by == "templates" and (value_N[self.strata.members(group)] >= 0).any():
                tally.add(
                    "means", "large relay", _NULLS["shared"], bet(group),
                    carriers=partial(sharing, group.parties, value_of),
                )  # fmt: skip

    def _spread(
        self, groups: Sequence[tuple[Chooser, Grouping]], tallies: Sequence[GroupTally]
    ) -> None:
        """Test whether those whom means join have templates in common, as strangers have not."""
        value_of = templates_of(groups)
        value_N = self._values(sorted(value_of.items()))
        bet = self.strata.sharing_bets(value_N)
        for (by, group), tally in zip(groups, tallies, strict=True):
            if by == "means":
                tally.add(
                    "spread", "template spread", _NULLS["shared"], bet(group),
                    carriers=partial(sharing, group.parties, value_of),
                )  # fmt: skip

    def _values(self, mine: Sequence[tuple[str, str]]) -> Ints:
        """Return a number for each party's value; -1 for none, and for one that very many have.

        What a mail provider's customers share is no link, and would drown those that are.
        """
        count = Counter(value for _, value in mine)
        number = {value: n for n, value in enumerate(sorted(count)) if count[value] <= self.rare}
        value_N = np.full(len(self.strata.place), -1, np.int64)
        for party, value in mine:
            if party in self.strata.place:
                value_N[self.strata.place[party]] = number.get(value, -1)
        return value_N

    def _clock(
        self,
        groups: Sequence[tuple[Chooser, Grouping]],
        asked: ir.Table,
        tallies: Sequence[GroupTally],
    ) -> None:
        products, volume = self._volume()
        for number, rows in self.traffic.by_group(moments(self.traffic, asked)):
            names, party = named(rows["party"])
            day, second = ints(rows["day"]), ints(rows["second"])
            product = ints(pc.index_in(rows["product"], products))
            others = volume_without(volume, product, day, second)
            acts = acts_of(party, day, second, product, others)
            for signal, apart, widths in _CLOCK:
                found = synchrony_log_e(acts, widths=widths, apart=apart)
                if not apart and found is not None and found.log_e >= HELD:
                    least = shifted_log_e(party, day, second, widths)
                    found = replace(found, log_e=min(found.log_e, least))
                carriers = partial(acting, names, acts, widths[0], apart)
                tallies[number].add("clock", signal, _NULLS[signal], found, carriers=carriers)
                if not apart and self._in_rounds(groups[number], number, asked, found):
                    tallies[number].add(
                        "rounds", "common rounds", _NULLS[signal], found, carriers=carriers
                    )

    def _in_rounds(
        self,
        one: tuple[Chooser, Grouping],
        number: int,
        asked: ir.Table,
        found: PlacedBet | None,
    ) -> bool:
        """Tell whether those who act together do so from several places, each on its own."""
        by, group = one
        if by != "templates" or found is None or found.log_e < HELD or self.profiles is None:
            return False
        if 2 * len(self._in_one_place(group)) >= len(group.parties):
            return False
        rows = self.traffic.rows(subjects(self.traffic, asked, number))
        five_minutes = ints(rows["day"]) * 288 + ints(rows["second"]) // 300
        slots = slots_of(rows["prompt_sketch"].combine_chunks())
        return on_their_own(named(rows["party"])[1], five_minutes, slots)

    def _in_one_place(self, group: Grouping) -> set[str]:
        """Return the parties of a group that share a place with another one of it."""
        found: set[str] = set()
        for kind in PLACES:
            value_of = self._linked.get(kind, {})
            found |= set(sharing(group.parties, value_of))
        return found

    @cached_property
    def _linked(self) -> dict[str, dict[str, str]]:
        """Return each party's value of each kind of link, without those that very many have."""
        rows = self.shared.to_pylist()
        count = Counter((row["kind"], row["value"]) for row in rows)
        found: dict[str, dict[str, str]] = {}
        for row in rows:
            if count[row["kind"], row["value"]] <= self.rare:
                found.setdefault(row["kind"], {})[row["party"]] = row["value"]
        return found

    def _hand_offs(self, members: ir.Table, tallies: Sequence[GroupTally]) -> None:
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
        self, groups: Sequence[tuple[Chooser, Grouping]], tallies: Sequence[GroupTally]
    ) -> None:
        if not self.traffic.is_on("reasoning elicitation"):
            return
        rows = self.traffic.rows(asking(self.traffic)).to_pylist()
        for name in ("reasoning", "rubric"):
            asks_N = np.full(len(self.strata.place), -1, np.int64)
            for row in rows:
                asks_N[self.strata.place[row["party"]]] = int(row[name])
            bet = self.strata.asking_bets(asks_N)
            for (by, group), tally in zip(groups, tallies, strict=True):
                # Who has a template in common asks alike, on other days, too.
                chosen = by == "templates"
                tally.add(
                    "intent", _SIGNALS[name], _NULLS["intent"], bet(group), chosen=chosen,
                    carriers=partial(asking_so, group.parties, asks_N, self.strata.place),
                )  # fmt: skip

    def _volume(self) -> tuple[pa.Array, dict[tuple[int, int], Ints]]:
        """Return the products, and the requests of each minute by a product's place and day."""
        rows = self.traffic.rows(minutes(self.traffic))
        # Sorted, so that no order of rows decides what is drawn.
        products = rows["product"].unique().sort()
        place = ints(pc.index_in(rows["product"], products)).tolist()
        found: dict[tuple[int, int], Ints] = {}
        columns = (rows[name].to_pylist() for name in ("day", "minute", "n"))
        for product, day, minute, n in zip(place, *columns, strict=True):
            found.setdefault((product, day), np.zeros(1_440, np.int64))[minute] = n
        return products, found
