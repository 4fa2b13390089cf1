"""Groups tested: the figures of every signal, and the evidence of each part about each group."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from potstill.stats.evalues import average_log_e
from potstill.watch.campaigns import Grouping
from potstill.watch.evidence import Chooser, Part, SignalFinding
from potstill.watch.judging import FAMILY
from potstill.watch.nulls import (
    PlacedBet,
    askers_log_e,
    hand_off_log_e,
    links_log_e,
    sharding_log_e,
    synchrony_log_e,
)
from potstill.watch.signals.content import marks, slot_values
from potstill.watch.signals.intent import asking
from potstill.watch.signals.links import MEANS, PLACES, strata
from potstill.watch.signals.timing import hand_offs, minutes, moments
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
    "reasoning": "reasoning elicitation",
    "rubric": "rubric and reward prompts",
}
_WIDE = 30  # minutes in which load is complementary


@dataclass(frozen=True)
class Tested:
    """What testing a group gave: ln E of each part that could be tested, and every figure."""

    parts: dict[Part, float]
    signals: tuple[SignalFinding, ...]


@dataclass
class _Tally:
    """Evidence as it comes in, by part."""

    found: dict[Part, list[float]] = field(default_factory=dict)
    signals: list[SignalFinding] = field(default_factory=list)

    def add(
        self,
        part: Part,
        signal: str,
        null: str,
        evidence: PlacedBet | None,
        *,
        chosen: bool = False,
    ) -> None:
        """Take a figure in; of what `chosen` tells that it chose the group it is no evidence."""
        if evidence is None:
            return
        if not chosen:
            self.found.setdefault(part, []).append(evidence.log_e)
        self.signals.append(
            SignalFinding(
                signal=signal,
                family=FAMILY[part],
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
        return Tested(parts, tuple(self.signals))


@dataclass(frozen=True)
class Testing:
    """All parties, in order, with what is the same for every group."""

    traffic: Traffic
    place: dict[str, int]
    stratum_N: Ints
    shared: pa.Table
    notes: tuple[str, ...]

    @classmethod
    def of(cls, traffic: Traffic, shared: pa.Table) -> Testing:
        """Return what testing needs of a store's traffic, and of its links in rows."""
        rows = traffic.rows(strata(traffic))
        place = {party: number for number, party in enumerate(rows["party"].to_pylist())}
        _, stratum_N = np.unique(np.array(rows["stratum"].to_pylist()), return_inverse=True)
        notes: tuple[str, ...] = ()
        if len(traffic.days) < 3:
            notes = (
                f"the store holds {len(traffic.days)} days: what is tested by days (slot coverage, "
                "synchrony, complementary load) is off below three",
            )
        return cls(traffic, place, stratum_N.astype(np.int64), shared, notes)

    def test(self, groups: Sequence[tuple[Chooser, Grouping]]) -> list[Tested]:
        """Return what every signal says of each group, but what chose it."""
        tallies = [_Tally() for _ in groups]
        if groups:
            members = members_table(self.traffic, (one.parties for _, one in groups), "ps_members")
            self._content(groups, members, tallies)
            self._links(groups, tallies)
            self._time(members, tallies)
            self._intent(groups, tallies)
        return [tally.tested() for tally in tallies]

    def _members(self, group: Grouping) -> list[int]:
        return [self.place[party] for party in group.parties if party in self.place]

    def _content(
        self,
        groups: Sequence[tuple[Chooser, Grouping]],
        members: ir.Table,
        tallies: Sequence[_Tally],
    ) -> None:
        if not self.traffic.is_on("slot coverage"):
            return
        pairs = [
            (number, int(value))
            for number, (by, one) in enumerate(groups)
            if by == "templates"
            for value in one.values
        ]
        table = pa.table(
            {
                "group": pa.array([number for number, _ in pairs], pa.int32()),
                "bucket": pa.array([value for _, value in pairs], pa.int64()),
            }
        )
        self.traffic.backend.create_table("ps_buckets", table, temp=True, overwrite=True)
        buckets = self.traffic.backend.table("ps_buckets")
        for number, rows in _by_group(
            self.traffic.rows(slot_values(self.traffic, members, buckets))
        ):
            found = sharding_log_e(_codes(rows["party"]), _ints(rows["day"]), *marks(rows))
            tallies[number].add("sharding", "slot coverage", _NULLS["slot coverage"], found)

    def _links(self, groups: Sequence[tuple[Chooser, Grouping]], tallies: Sequence[_Tally]) -> None:
        rows = self.shared.to_pylist()
        sides: tuple[tuple[Part, tuple[str, ...]], ...] = (("means", MEANS), ("places", PLACES))
        for part, kinds in sides:
            for kind in kinds:
                mine = sorted((r["party"], r["value"]) for r in rows if r["kind"] == kind)
                if not mine:
                    continue
                value_N = np.full(len(self.place), -1, np.int64)
                _, codes = np.unique([value for _, value in mine], return_inverse=True)
                for (party, _), code in zip(mine, codes, strict=True):
                    if party in self.place:
                        value_N[self.place[party]] = code
                for (by, group), tally in zip(groups, tallies, strict=True):
                    if by == "templates":
                        found = links_log_e(self._members(group), self.stratum_N, value_N)
                        tally.add(part, _SIGNALS[kind], _NULLS["shared"], found)

    def _time(self, members: ir.Table, tallies: Sequence[_Tally]) -> None:
        products, volume = self._volume()
        for number, rows in _by_group(self.traffic.rows(moments(self.traffic, members))):
            party, day, second = _codes(rows["party"]), _ints(rows["day"]), _ints(rows["second"])
            product = _ints(pc.index_in(rows["product"], products))
            others = _without(volume, product, day, second)
            found = synchrony_log_e(party, day, second, product, others)
            tallies[number].add("clock", "synchrony", _NULLS["synchrony"], found)
            found = synchrony_log_e(party, day, second, product, others, width=_WIDE, apart=True)
            tallies[number].add("clock", "complementary load", _NULLS["complementary load"], found)
        if self.traffic.is_on("hand-off") and self.traffic.is_on("template spread"):
            self._hand_offs(members, tallies)

    def _hand_offs(self, members: ir.Table, tallies: Sequence[_Tally]) -> None:
        counts: dict[int, dict[bool, tuple[int, int]]] = {}
        for row in self.traffic.rows(hand_offs(self.traffic, members)).to_pylist():
            counts.setdefault(row["group"], {})[row["refused"]] = (row["n"], row["followed"])
        for number, of in sorted(counts.items()):
            found = hand_off_log_e(of.get(True, (0, 0)), of.get(False, (0, 0)))
            tallies[number].add("hand-off", "hand-off", _NULLS["hand-off"], found)

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
                tally.add("intent", _SIGNALS[name], _NULLS["intent"], found, chosen=chosen)

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


def _without(
    volume: Mapping[tuple[int, int], Ints], product_R: Ints, day_R: Ints, second_R: Ints
) -> dict[tuple[int, int], Ints]:
    """Return the volume of the others on the products and days of a group."""
    found = {}
    for product, day in np.unique(np.stack([product_R, day_R]), axis=1).T.tolist():
        mine = second_R[(product_R == product) & (day_R == day)] // 60
        found[product, day] = volume[product, day] - np.bincount(mine, minlength=1_440)
    return found


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
