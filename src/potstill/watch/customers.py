"""Whether a group looks like customers who declared no tenant: one, or several with one template.

A small company runs some keys on one card, with one client, dealt out, in turns, and hands over
what is refused: whatever a campaign does. Several that use one public harness are joined by their
cards, each to itself. What neither has a reason to do is to look like strangers: a card that pays
for accounts of several time zones, or of several companies' e-mail domains.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx

# So many of the parties have one value; half of them have to have one at all.
_MOST, _HALF = 0.8, 0.5
_HANDS = ("payment", "device")
_DOMAIN = "email_domain"


@dataclass(frozen=True)
class Customers:
    """What tells customers: each party's values by kind, and its time zone.

    `count` is how many parties have each value; `rare` how many may have one that joins anybody.
    """

    values: Mapping[str, Mapping[str, str]]
    zones: Mapping[str, str]
    count: Mapping[tuple[str, str], int]
    rare: int

    @classmethod
    def of(
        cls, rows: Iterable[Mapping[str, str]], zones: Mapping[str, str], rare: int
    ) -> Customers:
        """Return that of links in rows (`links`) and of the parties' zones."""
        values: dict[str, dict[str, str]] = {}
        count: Counter[tuple[str, str]] = Counter()
        for row in rows:
            values.setdefault(row["kind"], {})[row["party"]] = row["value"]
            count[row["kind"], row["value"]] += 1
        return cls(values, zones, count, rare)

    def is_one(self, parties: Sequence[str]) -> bool:
        """Tell whether parties fit one customer.

        They do if four fifths of them have one e-mail domain, that is mostly theirs; or one card
        or device, and do not look like strangers. Shared payment alone makes no tenant. Nobody at
        all fits none.
        """
        if not parties:
            return False
        domain, inside = self._top(_DOMAIN, parties)
        if domain is not None and 2 * inside >= self.count[_DOMAIN, domain]:
            return True
        if self._look_like_strangers(parties):
            return False
        return any(self._top(kind, parties)[0] is not None for kind in _HANDS)

    def are_several(self, parties: Sequence[str]) -> bool:
        """Tell whether the parties that have a card or a device in common fit a customer each.

        Looked at are those that hang together by cards and devices; four fifths of the parties in
        them have to be in such as do not look like strangers.
        """
        graph = nx.Graph()
        for kind in _HANDS:
            known = self.values.get(kind, {})
            graph.add_edges_from(
                ((0, party), (kind, known[party]))
                for party in parties
                if party in known and self.count[kind, known[party]] <= self.rare
            )
        hands = [
            sorted(name for side, name in one if side == 0)
            for one in nx.connected_components(graph)
        ]
        linked = [one for one in hands if len(one) > 1]
        plain = sum(len(one) for one in linked if not self._look_like_strangers(one))
        return bool(linked) and plain >= _MOST * sum(map(len, linked))

    def _look_like_strangers(self, parties: Sequence[str]) -> bool:
        """Tell whether fewer than four fifths are in one zone, or companies' domains differ so."""
        zones = Counter(zone for party in parties if (zone := self.zones.get(party)))
        if zones and max(zones.values()) < _MOST * sum(zones.values()):
            return True
        known = self.values.get(_DOMAIN, {})
        domains = Counter(
            known[party]
            for party in parties
            if party in known and self.count[_DOMAIN, known[party]] <= self.rare
        )
        there = sum(domains.values())
        return there >= _HALF * len(parties) and max(domains.values()) < _MOST * there

    def _top(self, kind: str, parties: Sequence[str]) -> tuple[str | None, int]:
        """Return the value that so many of the parties have, None where none is, and how many."""
        known = self.values.get(kind, {})
        found = Counter(known[party] for party in parties if party in known)
        there = sum(found.values())
        if not there or there < _HALF * len(parties):
            return None, 0
        value, inside = min(found.items(), key=lambda one: (-one[1], one[0]))
        return (value, inside) if inside >= _MOST * there else (None, inside)
