"""Campaigns in a store: groups are chosen, tested by what did not choose them, and ranked."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from potstill.stats.multiple import e_bh
from potstill.text.counts import many
from potstill.watch.campaigns import (
    LEAST_PARTIES,
    Grouping,
    communities,
    most_parties,
    others_than,
    stable_id,
)
from potstill.watch.customers import Customers
from potstill.watch.evidence import Campaign, CampaignsFound, Candidate, Chooser
from potstill.watch.ingest.store import TrafficStore
from potstill.watch.judging import (
    FAMILIES,
    families_held,
    log10_written,
    two_families_log_e,
)
from potstill.watch.keys import key_groups
from potstill.watch.likeness import Profiles, profiles_of
from potstill.watch.linking import Links, templates_of
from potstill.watch.naming import NamedParties, StandingGroup, lots_of, named, together, widened
from potstill.watch.schema import Family
from potstill.watch.signals.content import template_keys, template_use
from potstill.watch.signals.links import MEANS, PLACES, links
from potstill.watch.signals.traffic import Traffic, traffic_of
from potstill.watch.tally import HELD, Tested
from potstill.watch.testing import Testing, coded

if TYPE_CHECKING:
    from ibis.backends.sql import SQLBackend

Ints = NDArray[np.int64]

LEVEL = 0.05
# Groups that stand are one campaign if their middles are so like, or so many means are in both.
_ONE_TEMPLATE, _MEANS_IN_COMMON = 0.85, 2


@dataclass(frozen=True)
class Chosen:
    """A group, and what chose it."""

    by: Chooser
    group: Grouping

    @property
    def loose(self) -> bool:
        """Whether templates chose it whose users have less in common than one client."""
        return self.by == "templates" and not self.group.close


def find_campaigns(
    store: TrafficStore,
    backend: SQLBackend,
    level: float = LEVEL,
    allowed: Collection[str] = (),
    *,
    whole: bool = False,
) -> CampaignsFound:
    """Return the campaigns in a store at a false discovery rate of `level`.

    `backend` is a connection of Ibis to DuckDB, or to a Spark session: both find the same.
    Accounts that are `allowed` are left out. With `whole` everything is tried about every group,
    also what it cannot stand by. Raises PotstillError for a store without requests.
    """
    traffic = traffic_of(store, backend).without(allowed)
    first = _firsts(traffic)
    testing = testing_of(traffic, len(first), choosing=True)
    profiles, shared = testing.profiles, testing.links.rows
    chosen = chosen_in(testing, len(first))
    groups = [(one.by, one.group) for one in chosen]
    # What stands has an E of 1 / level at least, whatever the others have.
    worth = -math.inf if whole else -math.log(level)
    tested = testing.test(groups, worth)
    candidates = _judged(chosen, tested, first, level, testing.links)
    return CampaignsFound(
        days=traffic.days,
        requests=sum(known.requests for known in first.values()),
        parties=len(first),
        level=level,
        candidates=candidates,
        campaigns=_campaigns(traffic, chosen, candidates, tested, first, Joining(profiles, shared)),
        off=dict(sorted(traffic.off.items())),
        notes=(*testing.notes, *_customers_note(candidates)),
        template_of=templates_of(groups),
    )


def testing_of(traffic: Traffic, parties: int, *, choosing: bool) -> Testing:
    """Return what choosing and testing need of traffic that has so many parties.

    With `choosing` groups that ask alike are found by a thread, while the engine is asked.
    """
    profiles = _profiles(traffic, parties)
    with ThreadPoolExecutor(1) as pool:
        alike = pool.submit(lambda: profiles.groups if profiles and choosing else [])
        shared, keyed = traffic.rows(links(traffic)), _keyed(traffic, parties)
        testing = Testing.of(traffic, shared, profiles, keyed)
        if choosing:
            _ = testing.asking_rows
        alike.result()
    return testing


def customers_in(linked: Links) -> Customers:
    """Return what tells customers who declared no tenant."""
    return Customers.of(linked.rows, linked.strata.zones, linked.rare)


def chosen_in(testing: Testing, parties: int) -> list[Chosen]:
    """Return the groups to test of traffic that has so many parties."""
    return choose(testing.profiles, parties, testing.links.rows, testing.keyed)


def choose(
    profiles: Profiles | None,
    parties: int,
    shared: Sequence[Mapping[str, str]],
    keyed: Sequence[Grouping] = (),
) -> list[Chosen]:
    """Return the groups to test, by templates and by links (`links` has them in rows).

    No figure of a test is looked at, and of a party's prompts only how often it used which piece
    of a template: the changes that null hypotheses make leave that as it is.
    """
    alike = profiles.groups if profiles else []
    found = [Chosen("templates", one) for one in (*keyed, *others_than(alike, keyed))]
    sides: tuple[tuple[Chooser, tuple[str, ...]], ...] = (("means", MEANS), ("places", PLACES))
    for by, kinds in sides:
        joined = [(f"{r['kind']}:{r['value']}", r["party"]) for r in shared if r["kind"] in kinds]
        found += [Chosen(by, one) for one in communities(joined, parties)]
    return found


def _keyed(traffic: Traffic, parties: int) -> list[Grouping]:
    """Return the groups whose clients ask alike; none where the store has no sketches."""
    if not traffic.is_on("template spread"):
        return []
    found = _key_uses(traffic, parties)
    # What they were read from lies idle by now.
    pa.default_memory_pool().release_unused()
    return key_groups(*found, parties) if found else []


def _key_uses(
    traffic: Traffic, parties: int
) -> tuple[list[str], list[str], Ints, Ints, Ints] | None:
    """Return the parties, the keys, and of each use the places of both and how often; None where
    there are none."""
    # Millions of rows, in which each name stands many times.
    use = [
        (batch["party"].dictionary_encode(), batch["key"].dictionary_encode(), batch["n"])
        for batch in traffic.batches(template_keys(traffic, most_parties(parties)))
    ]
    if not use:
        return None
    of_party, of_key, counts = zip(*use, strict=True)
    names, party = coded(pa.chunked_array(of_party))
    keys, key = coded(pa.chunked_array(of_key))
    return names, keys, party, key, np.concatenate(counts).astype(np.int64)


def _profiles(traffic: Traffic, parties: int) -> Profiles | None:
    """Return how often each party used each piece; None where the store has no sketches."""
    if not traffic.is_on("template spread"):
        return None
    use = template_use(traffic).of_parties(LEAST_PARTIES, most_parties(parties))
    share = use.n_E / use.asked_P[use.party_E]
    return profiles_of(use.names, use.party_E, use.piece_E, share, parties)


@dataclass(frozen=True)
class _First:
    asked: int
    requests: int
    accounts: int = 1


def _firsts(traffic: Traffic) -> dict[str, _First]:
    """Return each party's first moment (microseconds since 1970) and number of requests."""
    rows = traffic.requests
    each = rows.group_by("party").aggregate(
        asked=rows.micros.min(), n=rows.count(), accounts=rows.account_id.nunique()
    )
    found = traffic.rows(each.order_by("party")).to_pylist()
    return {row["party"]: _First(row["asked"], row["n"], row["accounts"]) for row in found}


def _founder(parties: Iterable[str], first: Mapping[str, _First]) -> str:
    return min((first[one].asked, one) for one in parties if one in first)[1]


def _judged(
    chosen: Sequence[Chosen],
    tested: Sequence[Tested],
    first: Mapping[str, _First],
    level: float,
    linked: Links,
) -> tuple[Candidate, ...]:
    log_es = [
        two_families_log_e(one.by, result.parts) for one, result in zip(chosen, tested, strict=True)
    ]
    stands = e_bh([log_e / math.log(10) for log_e in log_es], level)
    customers = customers_in(linked)
    found = []
    ids = _ids(chosen, first)
    for name_of, one, result, log_e, found_so in zip(
        ids, chosen, tested, log_es, stands, strict=True
    ):
        parties = tuple(party for party in one.group.parties if party in first)
        without = {
            name: log10_written(two_families_log_e(one.by, result.parts, name)) for name in FAMILIES
        }
        means = result.parts.get("means", -math.inf) >= HELD
        share = max(linked.share_of_means(parties) if means else 0.0, result.share_shown(parties))
        several = {party for party in parties if first[party].accounts > 1}
        carrying = result.carried_by(parties, one.by, told=one.loose)
        carried_by = widened(one.group, carrying, share, several)
        found.append(
            Candidate(
                candidate_id=name_of,
                chosen_by=one.by,
                parties=parties,
                carried_by=carried_by,
                requests=sum(first[party].requests for party in parties),
                signals=result.signals,
                log10_e=log10_written(log_e),
                without=without,
                found=found_so,
                undeclared=_undeclared(customers, carried_by, without),
                untested=result.untested,
                shown_in=result.shown_in(),
                keys=one.group.keys,
            )
        )
    return tuple(found)


def _ids(chosen: Sequence[Chosen], first: Mapping[str, _First]) -> list[str]:
    """Return an id for each group; of those with one founder and chooser the later ones count."""
    before: Counter[tuple[str, str]] = Counter()
    found = []
    for one in chosen:
        founder = _founder(one.group.parties, first)
        kind = f"{one.by} {before[founder, one.by]}" if before[founder, one.by] else one.by
        before[founder, one.by] += 1
        found.append(stable_id(founder, kind))
    return found


def _undeclared(
    customers: Customers, parties: Sequence[str], without: Mapping[Family, float]
) -> bool:
    """Tell whether what stands fits customers who declared no tenant.

    Several of them, each with its cards, explain links alone: not what stands without these.
    """
    alone = without["infrastructure"] * math.log(10) < HELD
    return customers.is_one(parties) or (alone and customers.are_several(parties))


def _customers_note(candidates: Sequence[Candidate]) -> tuple[str, ...]:
    count = sum(one.found and one.undeclared for one in candidates)
    if not count:
        return ()
    return (
        f"{many(count, 'group')} that would stand fit customers who declared no tenant (one e-mail "
        "domain, or cards and devices each in one time zone and with one company's domain) and are "
        "not named",
    )


@dataclass(frozen=True)
class Joining:
    """What makes several groups that stand one campaign, beside members in common."""

    profiles: Profiles | None
    shared: Sequence[Mapping[str, str]]

    def pairs(self, groups: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
        """Return pairs of groups that ask alike, or have two means in common (a card, a relay)."""
        values: dict[str, set[tuple[str, str]]] = defaultdict(set)
        for row in self.shared:
            if row["kind"] in MEANS:
                values[row["party"]].add((row["kind"], row["value"]))

        def held(group: set[str]) -> set[tuple[str, str]]:
            return set[tuple[str, str]]().union(*(values[party] for party in group))

        sets = [set(group) for group in groups]
        found = [
            (one, other)
            for one, other in itertools.combinations(range(len(groups)), 2)
            # A party that is in both joins nobody.
            if len(held(sets[one] - sets[other]) & held(sets[other] - sets[one]))
            >= _MEANS_IN_COMMON
        ]
        asking = self.profiles.pairs(groups, _ONE_TEMPLATE) if self.profiles else []
        return found + asking


def _naming(
    candidates: Sequence[Candidate],
    chosen: Sequence[Chosen],
    tested: Sequence[Tested],
    joining: Joining,
) -> list[NamedParties]:
    """Return the places of the candidates that are named, and who is named of each: best first,
    and late ones last."""
    places = [n for n, one in enumerate(candidates) if one.found and not one.undeclared]
    places.sort(key=lambda one: -candidates[one].log10_e)
    standing = [
        StandingGroup(
            candidates[one].parties,
            tested[one].carried_by(candidates[one].parties, chosen[one].by, told=chosen[one].loose),
            candidates[one].carried_by,
            chosen[one].loose,
            chosen[one].by != "templates",
        )
        for one in places
    ]
    sharing = [one.group.parties for one in chosen if one.by == "means"]
    linked = [chosen[one].group.parties for one in places if chosen[one].by == "means"]
    found = named(standing, sharing, lots_of(linked, joining.pairs(linked)))
    return [replace(one, place=places[one.place]) for one in found]


def _campaigns(
    traffic: Traffic,
    chosen: Sequence[Chosen],
    candidates: Sequence[Candidate],
    tested: Sequence[Tested],
    first: Mapping[str, _First],
    joining: Joining,
) -> tuple[Campaign, ...]:
    each = _naming(candidates, chosen, tested, joining)
    carrying = [one.parties for one in each]
    accounts = _accounts_of(traffic, {party for parties in carrying for party in parties})
    found = []
    own = [one.parties for one in each if not one.late]
    for places in together(each, joining.pairs(own)):
        of_place: dict[int, set[str]] = defaultdict(set)
        for one in places:
            of_place[each[one].place].update(carrying[one])
        mine = [
            candidates[place].model_copy(update={"carried_by": tuple(sorted(named_of))})
            for place, named_of in of_place.items()
        ]
        parties = sorted(set[str]().union(*of_place.values()))
        held = {
            family
            for place in of_place
            for family in families_held(candidates[place].chosen_by, tested[place].parts, HELD)
        }
        found.append(
            Campaign(
                campaign_id=stable_id(_founder(parties, first)),
                accounts=tuple(sorted(a for party in parties for a in accounts[party])),
                requests=sum(first[party].requests for party in parties),
                families=tuple(sorted(held)),
                candidates=tuple(sorted(mine, key=lambda one: (-one.log10_e, one.candidate_id))),
            )
        )
    return tuple(sorted(found, key=lambda one: (-one.log10_e, -one.requests, one.campaign_id)))


def _accounts_of(traffic: Traffic, parties: set[str]) -> dict[str, list[str]]:
    rows = traffic.requests.select("party", "account_id").distinct()
    kept = rows.filter(rows.party.isin(sorted(parties))) if parties else rows.limit(0)
    found: dict[str, list[str]] = defaultdict(list)
    for row in traffic.rows(kept).to_pylist():
        found[row["party"]].append(row["account_id"])
    return found
