"""What corroborates the campaigns of a run: signals that are in no e-value and name nobody.

The named parties that a campaign's best group tested are held against groups drawn at random
(`corroborating`); parties that any campaign names are in none of these but their own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from typing import TYPE_CHECKING

import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from potstill.watch.campaigns import LEAST_PARTIES
from potstill.watch.case import habits_sql
from potstill.watch.corroborating import (
    DRAWS,
    SEED,
    AskedPrompts,
    BesideDraws,
    DrawnGroups,
    Side,
    chosen_others,
    drawn_groups,
    hours_beside_even,
    mean_of_parties,
    party_kernel,
    shift_of_groups,
    unseen_of_groups,
)
from potstill.watch.evidence import Campaign, CampaignsFound, Corroboration
from potstill.watch.ingest.store import TrafficStore
from potstill.watch.signals import habits
from potstill.watch.signals.traffic import Traffic, traffic_of
from potstill.watch.sketches import slots_of
from potstill.watch.strata import Strata

if TYPE_CHECKING:
    from ibis.backends.sql import SQLBackend

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

NULL = (
    "{draws} groups drawn at random from it and {others} others, as many of each zone and product"
)
# Parties of a group whose prompts are read, others for each of them, prompts of each.
PARTIES_READ, OTHERS_READ, PROMPTS_READ = 40, 5, 16
# Prompts of each party whose likeness is asked; prompts of a group by which growth is told.
_ALIKE_READ, _LEAST_PROMPTS = 4, 20
_PLACES = 6
_TOO_FEW = f"fewer than {LEAST_PARTIES} of its parties have the figure"
_NO_OTHERS = "too few others of its time zones have the figure"


@dataclass(frozen=True)
class Corroborated:
    """A finding, and the query of what was observed; None where it takes more than SQL."""

    finding: Corroboration
    query: str | None = None


@dataclass(frozen=True)
class _Kind:
    """A signal: what is counted, which side is extreme, and what it does not say."""

    signal: str
    says: str
    says_not: str
    side: Side = "larger"


_IDLE = _Kind(
    "no idle hours",
    f"hours of the day in which a party asks, beside what even requests reach "
    f"(parties of {habits.EVEN_FROM} requests or more)",
    "that nobody sleeps: services, batch jobs and teams in several zones ask at all hours",
)
_TOKENS = _Kind(
    "output appetite",
    "completion tokens a request",
    "what answers are for: who translates or writes wants long ones too",
)
_LIMIT = _Kind(
    "output appetite",
    "share of requests that reach their limit",
    "that more was wanted: a low limit is always reached",
)
_PIVOT = _Kind(
    "pivot to a new model",
    f"share of the last {habits.RECENT_DAYS} days' requests that go to models first seen in the "
    f"last {habits.NEW_DAYS} days",
    "anything alone: whoever likes new models, or asks for an alias, moves at a launch",
)
_GROWTH = _Kind(
    "coverage growth",
    "Good-Turing's chance that the group's next request is a prompt it has not asked",
    "that a list is dealt out: people all ask new things, and courses all the same ones",
    "either",
)
_SHIFT = _Kind(
    "window shift",
    "squared MMD between the prompts of the group and of strangers",
    "more than that its prompts are alike and unlike others', which is what templates choose by",
)


def corroborated(
    store: TrafficStore,
    backend: SQLBackend,
    found: CampaignsFound,
    allowed: Collection[str] = (),
) -> dict[str, tuple[Corroborated, ...]]:
    """Return what corroborates each campaign of a run, by the campaign's id.

    `backend` is the connection that it was found by, whose tables are made anew.
    """
    if not found.campaigns:
        return {}
    traffic = traffic_of(store, backend).without(allowed)
    world = _World.of(traffic, found.campaigns)
    values = list(_of_parties(traffic, world))
    results: dict[str, list[Corroborated]] = {one.campaign_id: [] for one in found.campaigns}
    for campaign in found.campaigns:
        results[campaign.campaign_id] += [one.held(world, campaign) for one in values]
    if traffic.is_on(_GROWTH.signal):
        for campaign, held in _read_prompts(traffic, world, found.campaigns):
            results[campaign.campaign_id] += held
    return {name: tuple(of_campaign) for name, of_campaign in results.items()}


@dataclass(frozen=True)
class _World:
    """All parties of a store, what is counted of their habits, and who is named in no campaign.

    `new` are the models that are new, `recent` is the first of the last days.
    """

    strata: Strata
    names: pa.Array
    counted: ir.Table
    stranger_N: NDArray[np.bool_]
    new: tuple[str, ...]
    recent: int

    @classmethod
    def of(cls, traffic: Traffic, campaigns: Iterable[Campaign]) -> _World:
        """Return what campaigns are held against."""
        first, last = (_day_number(traffic.days[place]) for place in (0, -1))
        seen = traffic.rows(habits.models_seen(traffic)).to_pylist()
        old = max(first, last - habits.NEW_DAYS)
        new = tuple(row["model"] for row in seen if row["first"] > old)
        recent = last - habits.RECENT_DAYS + 1
        counted = habits.habits_of(traffic, new, recent, "ps_habits")
        rows = traffic.rows(habits.strata_of_habits(counted))
        strata = Strata.of(*(rows[name].to_pylist() for name in ("party", "zone", "used")))
        named = sorted({party for one in campaigns for party in _named(one)})
        names = rows["party"].combine_chunks()
        stranger_N = ~np.asarray(pc.is_in(names, pa.array(named, pa.string())))
        return cls(strata, names, counted, stranger_N, new, recent)

    def places(self, party: pa.ChunkedArray) -> Ints:
        """Return where parties stand."""
        return np.asarray(pc.index_in(party, self.names)).astype(np.int64)

    def group(self, campaign: Campaign) -> Ints:
        """Return where those named parties of a campaign stand that its best group tested."""
        inside = _named(campaign) & set(campaign.candidates[0].parties)
        return np.array(sorted(self.strata.members(sorted(inside))), np.int64)

    def with_figure(self, campaign: Campaign, has_N: NDArray[np.bool_]) -> tuple[Ints, Ints]:
        """Return where the group's parties, and strangers, stand that have a figure."""
        mine = self.group(campaign)
        return mine[has_N[mine]], np.flatnonzero(self.stranger_N & has_N)


def _named(campaign: Campaign) -> set[str]:
    return {party for one in campaign.candidates for party in one.carried_by}


def _day_number(day: str) -> int:
    return (date.fromisoformat(day) - date(1970, 1, 1)).days


@dataclass(frozen=True)
class _OfParties:
    """A signal whose figure is a mean over parties; those without one have NaN."""

    kind: _Kind
    value_N: Floats
    query: Callable[[str], str]
    lacks: str = _TOO_FEW

    def held(self, world: _World, campaign: Campaign) -> Corroborated:
        """Return what it says of a campaign."""
        candidate_id = campaign.candidates[0].candidate_id
        mine, others = world.with_figure(campaign, ~np.isnan(self.value_N))
        if len(mine) < LEAST_PARTIES:
            return Corroborated(_untested(self.kind, candidate_id, len(mine), self.lacks))
        groups = drawn_groups(mine, others, world.strata)
        if groups is None:
            return Corroborated(_untested(self.kind, candidate_id, len(mine), _NO_OTHERS))
        beside = groups.beside(mean_of_parties(groups.groups_BG, self.value_N), self.kind.side)
        found = _finding(self.kind, candidate_id, groups, beside)
        return Corroborated(found, self.query(candidate_id))


def _of_parties(traffic: Traffic, world: _World) -> Iterator[_OfParties]:
    """Yield the signals whose figures are means over parties, of those that are on."""
    idle = _columns(traffic, world, habits.no_idle_hours(world.counted))
    even_N = hours_beside_even(idle["hours"], np.maximum(idle["n"], 1))
    even_N[idle["n"] < habits.EVEN_FROM] = np.nan
    yield _OfParties(_IDLE, even_N, habits_sql.idle_hours)
    if traffic.is_on(_TOKENS.signal):
        had = _columns(traffic, world, habits.output_appetite(world.counted))
        tokens_N = _ratio(had["written"], had["answered"])
        yield _OfParties(_TOKENS, tokens_N, habits_sql.appetite)
        yield _OfParties(_LIMIT, _ratio(had["at_limit"], had["limited"]), habits_sql.at_limit)
    if traffic.is_on(_PIVOT.signal):
        went = _columns(traffic, world, habits.pivot(world.counted))
        moved_N = _ratio(went["moved"], went["late"])
        query = partial(habits_sql.moved, new=world.new, recent=world.recent)
        if world.new:
            yield _OfParties(_PIVOT, moved_N, query)
        else:
            none = f"no model was first seen in the last {habits.NEW_DAYS} days"
            yield _OfParties(_PIVOT, np.full(len(moved_N), np.nan), query, none)


def _columns(traffic: Traffic, world: _World, expression: ir.Table) -> dict[str, Ints]:
    """Return columns of whole numbers, by the party's place; 0 for who has none."""
    rows = traffic.rows(expression)
    place = world.places(rows["party"])
    found = {}
    for name in rows.column_names:
        if name != "party":
            found[name] = np.zeros(len(world.names), np.int64)
            found[name][place] = np.asarray(rows[name]).astype(np.int64)
    return found


def _ratio(part_N: Ints, whole_N: Ints) -> Floats:
    return np.where(whole_N > 0, part_N / np.maximum(whole_N, 1), np.nan)


@dataclass(frozen=True)
class _Prompts:
    """Sampled prompts of parties: hashes, and of fewer of them sketches, each sorted by party."""

    asked: AskedPrompts
    alike_R: Ints
    slots_RS: NDArray[np.uint16]

    def held(self, world: _World, campaign: Campaign, chosen: Ints) -> list[Corroborated]:
        """Return what coverage growth and window shift say of a campaign, whose group and others
        are `chosen`."""
        candidate_id = campaign.candidates[0].candidate_id
        has_N = np.zeros(len(world.names), np.bool_)
        has_N[chosen] = np.diff(self.asked.first_N)[chosen] > 0
        mine, others = world.with_figure(campaign, has_N)
        groups = drawn_groups(mine, others, world.strata) if len(mine) >= LEAST_PARTIES else None
        if groups is None:
            why = _TOO_FEW if len(mine) < LEAST_PARTIES else _NO_OTHERS
            kinds = (_GROWTH, _SHIFT)
            return [Corroborated(_untested(one, candidate_id, len(mine), why)) for one in kinds]
        unseen_B = unseen_of_groups(groups.groups_BG, self.asked, _LEAST_PROMPTS)
        if unseen_B is None:
            growth = _untested(_GROWTH, candidate_id, len(mine), "too few prompts")
        else:
            beside = groups.beside(unseen_B, _GROWTH.side)
            growth = _finding(_GROWTH, candidate_id, groups, beside)
        shift = groups.beside(self._shift(groups.groups_BG, mine, others), _SHIFT.side)
        return [
            Corroborated(growth),
            Corroborated(_finding(_SHIFT, candidate_id, groups, shift)),
        ]

    def _shift(self, groups_BG: Ints, mine: Ints, others: Ints) -> Floats:
        around = np.union1d(mine, others)
        here = np.isin(self.alike_R, around)
        party_R = np.searchsorted(around, self.alike_R[here])
        kernel_UU = party_kernel(party_R, self.slots_RS[here], len(around))
        return shift_of_groups(np.searchsorted(around, groups_BG), kernel_UU)


def _read_prompts(
    traffic: Traffic, world: _World, campaigns: Sequence[Campaign]
) -> Iterator[tuple[Campaign, list[Corroborated]]]:
    """Yield what prompts say of each campaign; those of all are sampled in one pass."""
    asked_N = _columns(traffic, world, habits.no_idle_hours(world.counted))["n"]
    chosen = [_chosen(world, one) for one in campaigns]
    every = np.unique(np.concatenate(chosen))
    share = np.minimum(PROMPTS_READ / asked_N[every], 1.0) * habits.SPREAD
    shares = pa.table({"party": world.names.take(pa.array(every)), "kept": share.astype(np.int64)})
    kept = habits.sampled(traffic, shares, "ps_sampled")
    grown = traffic.rows(habits.coverage_growth(kept))
    shifted = traffic.rows(habits.window_shift(kept, _ALIKE_READ))
    place_R = world.places(grown["party"])
    order = np.argsort(place_R, kind="stable")
    codes = np.asarray(grown["prompt_hash"]).astype(np.int64)
    prompts = _Prompts(
        AskedPrompts.of(place_R[order], codes[order], len(world.names)),
        world.places(shifted["party"]),
        slots_of(shifted["prompt_sketch"].combine_chunks()),
    )
    for campaign, of_campaign in zip(campaigns, chosen, strict=True):
        yield campaign, prompts.held(world, campaign, of_campaign)


def _chosen(world: _World, campaign: Campaign) -> Ints:
    """Return whose prompts are read: of a group at random where it is large, and others beside."""
    mine = world.group(campaign)
    if len(mine) > PARTIES_READ:
        mine = np.sort(np.random.default_rng(SEED).choice(mine, PARTIES_READ, replace=False))
    others = np.flatnonzero(world.stranger_N)
    return np.concatenate([mine, chosen_others(mine, others, world.strata, OTHERS_READ)])


def _finding(
    kind: _Kind, candidate_id: str, groups: DrawnGroups, beside: BesideDraws
) -> Corroboration:
    return Corroboration(
        signal=kind.signal,
        says=kind.says,
        candidate_id=candidate_id,
        parties=groups.groups_BG.shape[1],
        others=groups.others,
        draws=DRAWS,
        observed=round(beside.observed, _PLACES),
        expected=round(beside.expected, _PLACES),
        p=beside.p,
        side=kind.side,
        null=NULL.format(draws=DRAWS, others=f"{groups.others:,}"),
        says_not=kind.says_not,
    )


def _untested(kind: _Kind, candidate_id: str, parties: int, why: str) -> Corroboration:
    return Corroboration(
        signal=kind.signal,
        says=kind.says,
        candidate_id=candidate_id,
        parties=parties,
        others=0,
        draws=0,
        observed=None,
        expected=None,
        p=None,
        side=kind.side,
        null="",
        says_not=kind.says_not,
        untested=why,
    )
