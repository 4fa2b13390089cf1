"""Links tested: what the parties of a group have in common beside their requests."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from potstill.watch.campaigns import Grouping
from potstill.watch.evidence import Chooser, Part
from potstill.watch.nulls import CommonValues, PlacedBet, SharedValues
from potstill.watch.signals.links import MEANS, PLACES, TOGETHER
from potstill.watch.strata import Strata
from potstill.watch.tally import GroupTally

Ints = NDArray[np.int64]

SHARED = "parties drawn at random within time zone and product"
# A value that more parties have, and more than a hundredth of all, is no link.
RARE = 100
_SIGNALS: Mapping[str, str] = {
    "payment": "shared payment",
    "device": "shared device",
    "relay": "shared client address",
    "subnet": "shared network of accounts",
    "email_domain": "shared e-mail domain",
    "client network": "shared client address",
    TOGETHER: "accounts opened together",
}


@dataclass(frozen=True)
class Links:
    """What parties have in common: rows of `kind`, `value` and `party` (`links`)."""

    strata: Strata
    rows: Sequence[Mapping[str, str]]

    @property
    def rare(self) -> int:
        """How many parties may have a value that joins any of them."""
        return max(RARE, len(self.strata.place) // 100)

    def _bets(self, groups: Sequence[Grouping], value_N: Ints) -> list[PlacedBet | None]:
        """Return what values that parties have say of each group (`SharedValues`)."""
        known: dict[tuple[int, ...], SharedValues] = {}
        found = []
        for group in groups:
            wide = self.strata.wide(group.parties)
            if wide not in known:
                known[wide] = SharedValues.of(self.strata.beside(wide), value_N)
            found.append(known[wide].log_e(self.strata.members(group.parties)))
        return found

    def test_links(
        self, groups: Sequence[tuple[Chooser, Grouping]], tallies: Sequence[GroupTally]
    ) -> None:
        """Test which payments, devices, relays and places groups that templates chose share."""
        rows = self.rows
        mine_G = [number for number, (by, _) in enumerate(groups) if by == "templates"]
        alike = [groups[number][1] for number in mine_G]
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
                for number, found in zip(mine_G, self._bets(alike, value_N), strict=True):
                    tallies[number].add(
                        part, _SIGNALS[kind], SHARED, found,
                        carriers=partial(sharing, groups[number][1].parties, value_of),
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
        if not number:
            return
        known: dict[tuple[int, ...], CommonValues] = {}
        for (by, group), tally in zip(groups, tallies, strict=True):
            if by == "templates":
                wide = self.strata.wide(group.parties)
                if wide not in known:
                    known[wide] = CommonValues.of(self.strata.beside(wide), value_N)
                found = known[wide].log_e(self.strata.members(group.parties))
                tally.add(
                    "means", "large relay", SHARED, found,
                    carriers=partial(sharing, group.parties, value_of),
                )  # fmt: skip

    def test_spread(
        self, groups: Sequence[tuple[Chooser, Grouping]], tallies: Sequence[GroupTally]
    ) -> None:
        """Test whether those whom means join have templates in common, as strangers have not."""
        value_of = templates_of(groups)
        value_N = self._values(sorted(value_of.items()))
        mine_G = [number for number, (by, _) in enumerate(groups) if by == "means"]
        bets = self._bets([groups[number][1] for number in mine_G], value_N)
        for number, found in zip(mine_G, bets, strict=True):
            tallies[number].add(
                "spread", "template spread", SHARED, found,
                carriers=partial(sharing, groups[number][1].parties, value_of),
            )  # fmt: skip

    def _values(self, mine: Sequence[tuple[str, str]]) -> Ints:
        """Return a number for each party's value; -1 for none, and for one that very many have.

        What a mail provider's customers share is no link, and would drown those that are.
        """
        count = Counter(value for _, value in mine)
        rare = self.rare
        number = {value: n for n, value in enumerate(sorted(count)) if count[value] <= rare}
        value_N = np.full(len(self.strata.place), -1, np.int64)
        for party, value in mine:
            if party in self.strata.place:
                value_N[self.strata.place[party]] = number.get(value, -1)
        return value_N

    def share_of_means(self, parties: Sequence[str]) -> float:
        """Return the largest share of those parties that have a payment or a device at all that has
        one in common with another one of them."""
        shares = [0.0]
        # To come from a relay at all is rare.
        for kind in ("payment", "device"):
            value_of = self._linked.get(kind, {})
            there = sum(party in value_of for party in parties)
            shares.append(len(sharing(parties, value_of)) / max(there, 1))
        return max(shares)

    def in_one_place(self, parties: Sequence[str]) -> set[str]:
        """Return those parties that share a place with another one of them."""
        found: set[str] = set()
        for kind in PLACES:
            value_of = self._linked.get(kind, {})
            found |= set(sharing(parties, value_of))
        return found

    @cached_property
    def _linked(self) -> dict[str, dict[str, str]]:
        """Return each party's value of each kind of link, without those that very many have."""
        count, rare = Counter((row["kind"], row["value"]) for row in self.rows), self.rare
        found: dict[str, dict[str, str]] = {}
        for row in self.rows:
            if count[row["kind"], row["value"]] <= rare:
                found.setdefault(row["kind"], {})[row["party"]] = row["value"]
        return found


def templates_of(groups: Sequence[tuple[Chooser, Grouping]]) -> dict[str, str]:
    """Return the group by templates that each party has most to do with: most keys used."""
    found: dict[str, tuple[int, str]] = {}
    for number, (by, group) in enumerate(groups):
        if by == "templates":
            for party, used in zip(
                group.parties, group.used or [0] * len(group.parties), strict=True
            ):
                if party not in found or used > found[party][0]:
                    found[party] = (used, str(number))
    return {party: value for party, (_, value) in found.items()}


def sharing(parties: Iterable[str], value_of: Mapping[str, str]) -> list[str]:
    """Return the parties whose value another one of them has."""
    mine = {party: value_of[party] for party in parties if party in value_of}
    shared = Counter(mine.values())
    return [party for party, value in mine.items() if shared[value] > 1]
