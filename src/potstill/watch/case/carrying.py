"""What of a case's evidence each of its accounts carries, and what shows it.

An account carries a family that holds where it does itself what holds. For what chose a group: it
asks as the group's clients do, or has the group's links in common with another member. For what
was tested: it is one of those in which `watch find` saw it (`Candidate.shown_in`). These are
descriptions, no tests of one account.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from potstill.text.counts import by_number, many
from potstill.watch.case.models import (
    CaseFacts,
    MemberSign,
    MemberStrength,
    SignKind,
    Strength,
    Value,
)
from potstill.watch.evidence import Campaign, Candidate, Chooser, Part
from potstill.watch.schema import Family
from potstill.watch.tally import HELD

FAMILY_OF: Mapping[SignKind, Family] = {
    "template": "content",
    "links": "infrastructure",
    "place": "infrastructure",
    "hand-off": "time",
    "moments": "time",
    "asking": "intent",
}
# An account asks for something, or with a template, where this share of its requests does; it asks
# as a client does from so many requests on.
_SHARE, _ASKED = 0.25, 2
_ORDER: Mapping[Strength, int] = {"strong": 0, "medium": 1, "weak": 2}
# What was seen of the moments, by the signal that holds.
_MOMENTS: Mapping[str, str] = {
    "synchrony": "asks in the others' minutes",
    "complementary load": "asks while the others rest",
}


@dataclass(frozen=True)
class _Account:
    """An account's row of members, its party, and the case's groups that the party is in."""

    row: Mapping[str, Value]
    party: str
    groups: tuple[Candidate, ...]

    def of(self, name: str) -> float:
        """Return a figure of the row, 0 for none."""
        found = self.row.get(name)
        return float(found) if isinstance(found, int | float) else 0.0

    def most(self, name: str) -> bool:
        """Tell whether a quarter of the requests, and two, are such."""
        return self.of(name) >= max(float(_ASKED), _SHARE * self.of("requests"))

    def shown(self, *parts: Part) -> Candidate | None:
        """Return a group in which one of some parts shows in the account's party, if any."""
        return next(
            (
                one
                for one in self.groups
                if any(self.party in one.shown_in.get(part, ()) for part in parts)
            ),
            None,
        )

    def chosen(self, by: Chooser) -> Candidate | None:
        """Return a group of the account's party that something chose, if any."""
        return next((one for one in self.groups if one.chosen_by == by), None)


def member_strengths(
    facts: CaseFacts, campaign: Campaign, party_of: Mapping[str, str]
) -> tuple[MemberStrength, ...]:
    """Return how much of what holds each account carries, strongest first.

    `party_of` has the party of each account.
    """
    groups_of: dict[str, list[Candidate]] = {}
    for group in campaign.candidates:
        for party in group.parties:
            groups_of.setdefault(party, []).append(group)
    found = []
    for values in facts.members.rows:
        row = dict(zip(facts.members.columns, values, strict=True))
        name = str(row["account"])
        party = party_of.get(name, "")
        account = _Account(row, party, tuple(groups_of.get(party, ())))
        signs = tuple(one for one in signs_of(account) if one.family in campaign.families)
        families = tuple(sorted({one.family for one in signs}))
        strength: Strength = (
            "strong" if len(families) > 1 else "medium" if len(families) else "weak"
        )
        found.append(
            MemberStrength(account=name, strength=strength, families=families, signs=signs)
        )
    return tuple(sorted(found, key=lambda one: (_ORDER[one.strength], one.account)))


def carriers_of(members: Sequence[MemberStrength], family: Family) -> int:
    """Return how many accounts carry a family."""
    return sum(family in one.families for one in members)


def templates_words(campaign: Campaign) -> str | None:
    """Return what is alike in a group that templates chose; None where they chose none."""
    groups = [one for one in campaign.candidates if one.chosen_by == "templates"]
    if not groups:
        return None
    keyed = sum(bool(one.keys) for one in groups)
    if not keyed:
        return "prompts alike"
    return "one client's settings and wording" if keyed == 1 else "clients' settings and wording"


def signs_of(account: _Account) -> tuple[MemberSign, ...]:
    """Return what an account shows itself of what holds in its groups, each kind once."""
    found = (_template(account), _links(account), _place(account), _handed(account),
             _moments(account), _asking(account))  # fmt: skip
    return tuple(one for one in found if one is not None)


def _sign(kind: SignKind, says: str, find_in: Candidate | None = None) -> MemberSign:
    """Return a sign; `find_in` is the group in which `find` saw what no query computes."""
    return MemberSign(
        family=FAMILY_OF[kind],
        kind=kind,
        says=says,
        computed_by="query" if find_in is None else "find",
        group=None if find_in is None else find_in.candidate_id,
    )


def _template(account: _Account) -> MemberSign | None:
    requests = many(int(account.of("requests")), "request")
    if account.of("alike") >= _ASKED:
        return _sign("template", f"{account.of('alike'):,.0f} of {requests} as its client has them")
    if account.most("templated"):
        return _sign("template", f"{account.of('templated'):,.0f} of {requests} with a template")
    if (group := account.chosen("templates")) is not None and not group.keys:
        return _sign("template", "prompts like the others'", group)
    if (group := account.shown("spread")) is not None:
        return _sign("template", "one template with others", group)
    return None


def _links(account: _Account) -> MemberSign | None:
    return _linked(account, "means", "links", "linked_to", "payment, device or relay")


def _place(account: _Account) -> MemberSign | None:
    return _linked(account, "places", "place", "placed_with", "network or e-mail domain")


def _linked(
    account: _Account, by: Literal["means", "places"], kind: SignKind, column: str, what: str
) -> MemberSign | None:
    group = account.shown(by) or account.chosen(by)
    if group is None:
        return None
    if (others := int(account.of(column))) > 0:
        return _sign(kind, by_number(others, f"other with its {what}", f"others with its {what}"))
    return _sign(kind, f"{what} as another of the group", group)


def _handed(account: _Account) -> MemberSign | None:
    if (group := account.shown("hand-off")) is None:
        return None
    taken, handed = int(account.of("taken_over")), int(account.of("handed_on"))
    if taken or handed:
        return _sign("hand-off", f"{many(taken, 'request')} taken over, {handed:,} handed on")
    return _sign("hand-off", "part of a hand-off", group)


def _moments(account: _Account) -> MemberSign | None:
    if (group := account.shown("clock", "rounds")) is None:
        return None
    there = {one.signal for one in group.signals if (one.log10_e or 0) * math.log(10) >= HELD}
    held = [said for signal, said in _MOMENTS.items() if signal in there]
    return _sign("moments", " or ".join(held) or "acts when the others do", group)


def _asking(account: _Account) -> MemberSign | None:
    if account.shown("intent") is None:
        return None
    requests = many(int(account.of("requests")), "request")
    return _sign("asking", f"{account.of('asking'):,.0f} of {requests} ask for reasoning or grades")
