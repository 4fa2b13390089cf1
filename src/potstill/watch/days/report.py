"""What the days come to: candidates that stand, and the campaigns that they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from potstill.watch.case.models import Status
from potstill.watch.case.register import Named
from potstill.watch.days.following import FOLLOWED, Followed, Following
from potstill.watch.evidence import Campaign, Chooser, FoundPart, Part
from potstill.watch.judging import (
    FAMILIES,
    FAMILY,
    families_held,
    log10_written,
    two_families_log_e,
)
from potstill.watch.naming import NamedParties, named, together
from potstill.watch.schema import Family, party_of
from potstill.watch.tally import HELD


class DailyPart(FoundPart):
    """One part of the evidence about a candidate."""

    part: Part = Field(description="The part.")
    family: Family = Field(description="Its family.")
    counts: Literal["once", "day by day", "by blocks of days"] = Field(
        description="How often it counts."
    )
    tests: int = Field(description="How many tests have come together.")
    log10_e: float = Field(description="Logarithm of what they come to.")


class DailyCandidate(FoundPart):
    """A candidate that stands."""

    candidate_id: str = Field(description="Its id, fixed with its members when it was chosen.")
    chosen_by: Chooser = Field(description="What chose it, and is no evidence about it.")
    chosen_on: str = Field(description="The day on which it was chosen.")
    stands_since: str = Field(description="The first day after which it stood.")
    parties: tuple[str, ...] = Field(description="Its parties, the same ever since.")
    carried_by: tuple[str, ...] = Field(description="Those in which what holds shows.")
    log10_e: float = Field(description="Logarithm of the e-value that two families hold.")
    log10_share: float = Field(description="Logarithm of its share of the level.")
    without: dict[Family, float] = Field(description="The same with each family left out.")
    parts: tuple[DailyPart, ...] = Field(description="The parts of the evidence.")


class DailyCase(FoundPart):
    """Candidates that stand and have most of their parties in common: a case of the register."""

    case_id: str = Field(description="Its id, which stays while half of its accounts do.")
    status: Status = Field(description="Whether it is open.")
    new: bool = Field(description="Whether this run found it first.")
    first_found: str = Field(description="The last day that was looked at when it was first found.")
    accounts: tuple[str, ...] = Field(description="Its accounts.")
    requests: int = Field(description="How many requests they made.")
    families: tuple[Family, ...] = Field(description="Families of evidence that hold.")
    log10_e: float = Field(description="Logarithm of the largest e-value of its candidates.")
    since_closed: int = Field(description="Accounts that were not in it when it was closed.")
    after: str | None = Field(description="A closed case that it has accounts of.")
    candidates: tuple[DailyCandidate, ...] = Field(description="The candidates, best first.")


class DailyReport(FoundPart):
    """What `watch daily` found."""

    form: Literal["potstill/watch-daily/1"] = Field(
        "potstill/watch-daily/1", alias="schema", description="Name and version of this schema."
    )
    days: tuple[str, ...] = Field(description="The days that were followed.")
    computed: tuple[str, ...] = Field(description="Those that were looked at in this run.")
    again: tuple[str, ...] = Field(
        description="Days whose earlier lines stood no more, since something had changed."
    )
    left_out: tuple[str, ...] = Field(description="Days of the store that are not over.")
    requests: int = Field(description="Requests on these days, without allowed accounts.")
    level: float = Field(description="The false discovery rate of all days together.")
    followed: int = Field(description="Candidates that were chosen on any day.")
    stand: int = Field(description="Those that stand.")
    undeclared: int = Field(
        description="Those of them that fit customers who declared no tenant, and are not named."
    )
    false_expected: float = Field(
        description="The level times the cases found: what may be expected to be false."
    )
    open: int = Field(description="How many of the cases are open.")
    cases: tuple[DailyCase, ...] = Field(description="The cases, open ones first.")
    not_found: tuple[str, ...] = Field(description="Open cases of the register that are not here.")
    allowed: int = Field(description="Accounts on the allow-list, which were left out.")
    off: dict[str, tuple[str, ...]] = Field(description="Signals that were off on the last day.")
    notes: tuple[str, ...] = Field((), description="What else to know of the run.")


def campaigns_of(
    following: Following, active: pa.Table, tenant_of: Mapping[str, str], allowed: Collection[str]
) -> tuple[tuple[Campaign, ...], dict[str, tuple[Followed, ...]]]:
    """Return the campaigns that stand, and the candidates of each by its id.

    `active` is who made how many requests on which day, `tenant_of` the tenant of an account.
    """
    accounts, requests = _by_party(active, tenant_of, allowed)
    stand = _standing(following)
    place = {one.group.candidate_id: n for n, (one, who) in enumerate(stand) if not who.late}
    alike = [
        (place[one], place[other])
        for line in following.lines
        for one, other in line.alike
        if one in place and other in place
    ]
    campaigns, members = [], {}
    for places in together([who for _, who in stand], alike):
        mine = list({id(stand[number][0]): stand[number][0] for number in places}.values())
        parties = sorted({party for number in places for party in stand[number][1].parties})
        held = {family for one in mine for family in families_held(one.group.by, one.parts, HELD)}
        first = min(mine, key=lambda one: (one.named_on or "", one.group.candidate_id))
        campaign = Campaign(
            campaign_id=first.group.candidate_id,
            accounts=tuple(sorted(name for party in parties for name in accounts[party])),
            requests=sum(requests[party] for party in parties),
            families=tuple(sorted(held)),
            candidates=(),
        )
        campaigns.append((-max(one.log_e for one in mine), campaign))
        members[campaign.campaign_id] = tuple(
            sorted(mine, key=lambda one: (-one.log_e, one.group.candidate_id))
        )
    ranked = sorted(campaigns, key=lambda one: (one[0], -one[1].requests, one[1].campaign_id))
    return tuple(campaign for _, campaign in ranked), members


def _standing(following: Following) -> list[tuple[Followed, NamedParties]]:
    """Return the candidates that are named, and who is of each: best first, late ones last."""
    each = [one for one in following.named() if not one.is_undeclared]
    each.sort(key=lambda one: (-one.log_e, one.group.candidate_id))
    groups = [one.group for one in following.candidates.values()]
    sharing = [one.parties for one in groups if one.by == "means"]
    found = named([one.standing() for one in each], sharing)
    return [(each[one.place], one) for one in found]


def _by_party(
    active: pa.Table, tenant_of: Mapping[str, str], allowed: Collection[str]
) -> tuple[dict[str, list[str]], dict[str, int]]:
    whole = active.group_by("account_id").aggregate([("requests", "sum")])
    accounts: dict[str, list[str]] = defaultdict(list)
    requests: dict[str, int] = defaultdict(int)
    let_be = set(allowed)
    for name, n in zip(
        *(whole[c].to_pylist() for c in ("account_id", "requests_sum")), strict=True
    ):
        if name in let_be:
            continue
        party = party_of(name, tenant_of.get(name))
        accounts[party].append(name)
        requests[party] += n
    return accounts, requests


def requests_of(active: pa.Table, allowed: Collection[str]) -> int:
    """Return how many requests were made on the days, without those of allowed accounts."""
    let_be = pc.is_in(active["account_id"], pa.array(sorted(allowed), pa.string()))
    return int(pc.sum(active.filter(pc.invert(let_be))["requests"]).as_py() or 0)


def case_of(named: Named, candidates: Sequence[Followed]) -> DailyCase:
    """Return a case as it is reported."""
    return DailyCase(
        case_id=named.case_id,
        status="closed" if named.known.closed else "open",
        new=named.new,
        first_found=named.known.first_found,
        accounts=named.campaign.accounts,
        requests=named.campaign.requests,
        families=named.campaign.families,
        log10_e=log10_written(max(one.log_e for one in candidates)),
        since_closed=named.since_closed,
        after=named.known.after,
        candidates=tuple(_candidate(one) for one in candidates),
    )


def _candidate(one: Followed) -> DailyCandidate:
    return DailyCandidate(
        candidate_id=one.group.candidate_id,
        chosen_by=one.group.by,
        chosen_on=one.day,
        stands_since=one.named_on or "",
        parties=one.group.parties,
        carried_by=one.standing().widened,
        log10_e=log10_written(one.log_e),
        log10_share=round(one.log10_share, 3),
        without={
            family: log10_written(two_families_log_e(one.group.by, one.parts, family))
            for family in FAMILIES
        },
        parts=tuple(
            DailyPart(
                part=part,
                family=FAMILY[part],
                counts=_counts(part),
                tests=len(one.bets[part]) if part in one.bets else 1,
                log10_e=log10_written(log_e),
            )
            for part, log_e in sorted(one.parts.items())
        ),
    )


def _counts(part: Part) -> Literal["once", "day by day", "by blocks of days"]:
    if part not in FOLLOWED:
        return "once"
    return "day by day" if part == "hand-off" else "by blocks of days"
