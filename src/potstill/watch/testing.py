"""Groups tested: the figures of every signal, and the evidence of each part about each group."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from potstill.watch.campaigns import Grouping
from potstill.watch.clock import Acts, acting_together, acts_of, synchrony_log_e
from potstill.watch.evidence import Chooser, Part
from potstill.watch.judging import attainable_log_e, counts, two_families_log_e
from potstill.watch.likeness import Profiles
from potstill.watch.linking import Links
from potstill.watch.nulls import Askers, PlacedBet, hand_off_log_e
from potstill.watch.orders import sharding_log_e
from potstill.watch.rounds import on_their_own, shifted_log_e
from potstill.watch.signals.content import (
    asked_counts,
    asked_with,
    held_at_once,
    marks,
    of_templates,
    slot_values,
)
from potstill.watch.signals.intent import asking
from potstill.watch.signals.links import strata
from potstill.watch.signals.timing import hand_offs, handing_over, minutes, moments, subjects
from potstill.watch.signals.traffic import Traffic, members_table, of_groups
from potstill.watch.sketches import slots_of
from potstill.watch.strata import Strata
from potstill.watch.tally import HELD, GroupTally, Tested
from potstill.watch.threads import in_order

Ints = NDArray[np.int64]
_NULLS: Mapping[str, str] = {
    "slot coverage": "each party's days shuffled by themselves",
    "synchrony": "each party turned by whole days, or inside the hour by the others' volume, or "
    "its hours in another order",
    "complementary load": "each party turned by whole days, or inside the hour by others' volume",
    "hand-off": "refused requests are repeated by others as often as answered ones",
    "intent": "parties drawn at random within time zone and product",
}
_SIGNALS: Mapping[str, str] = {
    "reasoning": "reasoning elicitation",
    "rubric": "rubric and reward prompts",
}
# More than e-BH rounds by.
_SLACK = 1e-6
# How many times as much as hours turned give shows in minutes where accounts act in rounds.
_MORE = 1.2
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
    links: Links
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
                "the store holds one day: what is tested by days (slot coverage, complementary "
                "load) is off below two",
            )
        links = Links(known, shared.to_pylist())
        return cls(traffic, known, links, profiles, tuple(keyed), notes)

    def test(self, groups: Sequence[tuple[Chooser, Grouping]], worth: float) -> list[Tested]:
        """Return what every signal says of each group, but what chose it.

        What is dear is not tried about groups that cannot come to ln E of `worth` by it.
        """
        tallies = [GroupTally() for _ in groups]
        if groups:
            self.links.test_links(groups, tallies)
            self.links.test_spread(groups, tallies)
            handed = handed_on(self.traffic, [group.parties for _, group in groups])
            for number, (found, names) in handed.items():
                tallies[number].add(
                    "hand-off", "hand-off", _NULLS["hand-off"], found,
                    carriers=partial(tuple, names),
                )  # fmt: skip
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
        clock = _worth(groups, tallies, ("clock", "rounds"), ("sharding",), worth)
        self._clock(groups, of_groups(self.traffic, asked, clock, "ps_clock"), tallies)
        content = _worth(groups, tallies, ("sharding",), (), worth)
        self._content(groups, of_groups(self.traffic, asked, content, "ps_content"), tallies)
        told = set(clock)
        stand = [
            number
            for number, (by, _) in enumerate(groups)
            if number not in told
            and two_families_log_e(by, tallies[number].parts()) >= worth - _SLACK
        ]
        if stand:
            self._clock(groups, of_groups(self.traffic, asked, stand, "ps_clock"), tallies)

    def test_traits(self, groups: Sequence[tuple[Chooser, Grouping]]) -> list[Tested]:
        """Return what hangs on no day says of each group: links, template spread, intent."""
        tallies = [GroupTally() for _ in groups]
        self.links.test_links(groups, tallies)
        self.links.test_spread(groups, tallies)
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

    def _content(
        self,
        groups: Sequence[tuple[Chooser, Grouping]],
        asked: ir.Table,
        tallies: Sequence[GroupTally],
    ) -> None:
        if self.profiles is None or not self.traffic.is_on("slot coverage"):
            return
        covered = partial(_covered, groups, self.profiles)
        rows = slot_values(self.traffic, asked, self._held(asked))
        for number, found in in_order(covered, self.traffic.by_group(rows)):
            tallies[number].add("sharding", "slot coverage", _NULLS["slot coverage"], found)

    def _held(self, asked: ir.Table) -> ir.Table:
        """Return the parties of each group whose requests are read."""
        counts = self.traffic.rows(asked_counts(self.traffic, asked))
        kept = held_at_once(_ints(counts["group"]), _ints(counts["n"]))
        found = counts.select(["group", "party"]).filter(pa.array(kept))
        return self.traffic.engine.named("ps_held", found)

    def _clock(
        self,
        groups: Sequence[tuple[Chooser, Grouping]],
        asked: ir.Table,
        tallies: Sequence[GroupTally],
    ) -> None:
        rounds: dict[int, tuple[PlacedBet, Callable[[], list[str]]]] = {}
        acted = partial(_acted, *self._volume)
        for number, acts, names, bets in in_order(
            acted, self.traffic.by_group(moments(self.traffic, asked))
        ):
            for (signal, apart, widths), found in zip(_CLOCK, bets, strict=True):
                carriers = cache(partial(_acting, names, acts, widths[0], apart))
                tallies[number].add("clock", signal, _NULLS[signal], found, carriers=carriers)
                held = found is not None and found.log_e >= HELD and not apart
                # A timetable of minutes shows in minutes, and not in five of them alone.
                held = held and found is not None and found.observed >= _MORE * found.expected
                if found is not None and held and self._in_places(groups[number], carriers()):
                    rounds[number] = (found, carriers)
        if rounds:
            self._rounds(of_groups(self.traffic, asked, list(rounds), "ps_rounds"), rounds, tallies)
        # Common rounds that do not show are a bet that is lost: to leave them out of the average
        # would depend on what the data say.
        for (by, _), tally in zip(groups, tallies, strict=True):
            if by == "templates" and self.profiles is not None and "clock" in tally.found:
                tally.lose("rounds")

    def _in_places(self, one: tuple[Chooser, Grouping], acting: Sequence[str]) -> bool:
        """Tell whether those who are `acting` together are of one template and in several places.

        A class may be a part of a group.
        """
        by, group = one
        if by != "templates" or self.profiles is None:
            return False
        return not any(
            2 * len(self.links.in_one_place(parties)) >= len(parties)
            for parties in (acting, group.parties)
        )

    def _rounds(
        self,
        asked: ir.Table,
        rounds: Mapping[int, tuple[PlacedBet, Callable[[], list[str]]]],
        tallies: Sequence[GroupTally],
    ) -> None:
        """Count acting together once more where each party is on a subject of its own."""
        for number, rows in self.traffic.by_group(subjects(self.traffic, asked)):
            five_minutes = _ints(rows["day"]) * 288 + _ints(rows["second"]) // 300
            slots = slots_of(rows["prompt_sketch"].combine_chunks())
            if on_their_own(coded(rows["party"])[1], five_minutes, slots):
                found, carriers = rounds[number]
                tallies[number].add(
                    "rounds", "common rounds", _NULLS["synchrony"], found, carriers=carriers
                )

    def _intent(
        self, groups: Sequence[tuple[Chooser, Grouping]], tallies: Sequence[GroupTally]
    ) -> None:
        if self.asking_rows is None:
            return
        place = [self.strata.place[party] for party in self.asking_rows["party"].to_pylist()]
        for name in ("reasoning", "rubric"):
            asks_N = np.full(len(self.strata.place), -1, np.int64)
            asks_N[place] = _ints(self.asking_rows[name])
            known: dict[tuple[int, ...], Askers] = {}
            for (by, group), tally in zip(groups, tallies, strict=True):
                wide = self.strata.wide(group.parties)
                if wide not in known:
                    known[wide] = Askers.of(self.strata.beside(wide), asks_N)
                found = known[wide].log_e(self.strata.members(group.parties))
                # Who has a template in common asks alike, on other days, too.
                chosen = by == "templates"
                tally.add(
                    "intent", _SIGNALS[name], _NULLS["intent"], found, chosen=chosen,
                    carriers=partial(_asking, group.parties, asks_N, self.strata.place),
                )  # fmt: skip

    @cached_property
    def asking_rows(self) -> pa.Table | None:
        """Which parties ask for reasoning or grades (`asking`); None where that is off."""
        if not self.traffic.is_on("reasoning elicitation"):
            return None
        return self.traffic.rows(asking(self.traffic))

    @cached_property
    def _volume(self) -> tuple[pa.Array, dict[tuple[int, int], Ints]]:
        """Return the products, and the requests of each minute by a product's place and day."""
        rows = self.traffic.rows(minutes(self.traffic))
        # Sorted, so that no order of rows decides what is drawn.
        products = rows["product"].unique().sort()
        place = _ints(pc.index_in(rows["product"], products)).tolist()
        found: dict[tuple[int, int], Ints] = {}
        columns = (rows[name].to_pylist() for name in ("day", "minute", "n"))
        for product, day, minute, n in zip(place, *columns, strict=True):
            found.setdefault((product, day), np.zeros(1_440, np.int64))[minute] = n
        return products, found


def handed_on(
    traffic: Traffic, groups: Sequence[Sequence[str]]
) -> dict[int, tuple[PlacedBet, tuple[str, ...]]]:
    """Return what hand-offs say of groups of parties, by their places, and who took part in one.

    Nothing where hand-offs are off, and of a group of which they say nothing.
    """
    if not traffic.is_on("hand-off") or not traffic.is_on("template spread"):
        return {}
    members = members_table(traffic, groups, "ps_members")
    counts: dict[int, dict[bool, tuple[int, int]]] = {}
    for row in traffic.rows(hand_offs(traffic, members)).to_pylist():
        counts.setdefault(row["group"], {})[row["refused"]] = (row["n"], row["followed"])
    names: dict[int, list[str]] = {}
    for row in traffic.rows(handing_over(traffic, members)).to_pylist():
        names.setdefault(row["group"], []).append(row["party"])
    bets = {
        number: hand_off_log_e(of.get(True, (0, 0)), of.get(False, (0, 0)))
        for number, of in sorted(counts.items())
    }
    return {
        number: (bet, tuple(names.get(number, ())))
        for number, bet in bets.items()
        if bet is not None
    }


def _without(
    volume: Mapping[tuple[int, int], Ints], product_R: Ints, day_R: Ints, second_R: Ints
) -> dict[tuple[int, int], Ints]:
    """Return the volume of the others on the products and days of a group."""
    found = {}
    for product, day in np.unique(np.stack([product_R, day_R]), axis=1).T.tolist():
        mine = second_R[(product_R == product) & (day_R == day)] // 60
        found[product, day] = volume[product, day] - np.bincount(mine, minlength=1_440)
    return found


def _asking(parties: Iterable[str], asks_N: Ints, place: Mapping[str, int]) -> list[str]:
    return [party for party in parties if party in place and asks_N[place[party]] == 1]


def _acting(names: Sequence[str], acts: Acts, width: int, apart: bool) -> list[str]:
    """Return the parties that act together; in `acts` they are places among names."""
    return [names[code] for code in acting_together(acts, width=width, apart=apart)]


def _covered(
    groups: Sequence[tuple[Chooser, Grouping]], profiles: Profiles, one: tuple[int, pa.Table]
) -> tuple[int, PlacedBet | None]:
    """Return a group's place and what slot coverage says of it, from its requests."""
    number, rows = one
    group = groups[number][1]
    if not group.keys:
        pieces = profiles.pieces_of(group.parties)
        rows = rows.filter(pa.array(of_templates(rows["prompt_sketch"], pieces)))
    party, day = coded(rows["party"])[1], _ints(rows["day"])
    return number, sharding_log_e(party, day, *marks(rows, 2 * len(np.unique(day))))


def _acted(
    products: pa.Array, volume: Mapping[tuple[int, int], Ints], one: tuple[int, pa.Table]
) -> tuple[int, Acts, list[str], list[PlacedBet | None]]:
    """Return a group's place, its requests, its parties, and what each signal of the clock says."""
    number, rows = one
    names, party = coded(rows["party"])
    day, second = _ints(rows["day"]), _ints(rows["second"])
    product = _ints(pc.index_in(rows["product"], products))
    acts = acts_of(party, day, second, product, _without(volume, product, day, second))
    bets = []
    for _, apart, widths in _CLOCK:
        found = synchrony_log_e(acts, widths=widths, apart=apart)
        if not apart and found is not None and found.log_e >= HELD:
            least = shifted_log_e(party, day, second, widths)
            found = replace(found, log_e=min(found.log_e, least))
        bets.append(found)
    return number, acts, names, bets


def _worth(
    groups: Sequence[tuple[Chooser, Grouping]],
    tallies: Sequence[GroupTally],
    next_ones: tuple[Part, ...],
    later: tuple[Part, ...],
    worth: float,
) -> list[int]:
    """Return the groups that the next parts are tried on, which come before later ones."""
    found = []
    for number, (by, _) in enumerate(groups):
        says = any(counts(by, part) for part in next_ones)
        untested = (*next_ones, *later)
        if worth == -math.inf or (
            says and attainable_log_e(by, tallies[number].parts(), untested) >= worth - _SLACK
        ):
            found.append(number)
        else:
            tallies[number].untested.extend(next_ones)
    return found


def coded(column: pa.ChunkedArray) -> tuple[list[str], Ints]:
    """Return the values, sorted, and the place of each row's among them."""
    found = column.dictionary_encode().unify_dictionaries().combine_chunks()
    order = pc.array_sort_indices(found.dictionary)
    place = np.empty(len(order), np.int64)
    place[np.asarray(order)] = np.arange(len(order))
    return found.dictionary.take(order).to_pylist(), place[np.asarray(found.indices)]


def _ints(column: pa.ChunkedArray | pa.Array) -> Ints:
    return np.asarray(column).astype(np.int64)
