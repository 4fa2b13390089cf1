"""What was found in a world, held against what is true of it: campaigns hit, and cases."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from potstill.watch.evidence import Campaign, CampaignsFound, Candidate
from watched.truth import INNOCENT, Known, Truth

# Most of a campaign, and most of a group.
_HALF = 0.5
Why = Literal["named", "in another case", "scattered", "among others", "not convicted"]


class Part(BaseModel):
    """A part of a world's row."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Hit(Part):
    """What became of one campaign.

    `share` is of its requests, those that are its own; `best` tells of the groups that hold most of
    it, and `why` what came of them: half of it is in a case that is false or another campaign's,
    no group has half of it (scattered), one has but half of that group are others (among others),
    one is mostly it and was not convicted.
    """

    world: int
    campaign: str
    mechanism: str
    cover: str
    accounts: int
    rate: float
    mix: float
    days: int
    families: tuple[str, ...]
    templates: int
    languages: int
    paraphrase: float
    requests: int
    share: float
    named: int
    """Of its accounts."""
    cases: int
    held: tuple[str, ...]
    """The families that held in its cases."""
    why: Why
    best: str
    leaked: tuple[int, int] | None = None
    """The day after which it was first named (the campaign's first is 1) and its requests until
    then; None where it was not named, or not looked for day by day."""

    @property
    def cell(self) -> str:
        """Accounts x rate x mix."""
        return f"{self.accounts}x{self.rate:g}x{self.mix:g}"

    @property
    def fair(self) -> bool:
        """Whether it is to be found."""
        return is_fair(self.families, self.accounts, self.mix)


class Case(Part):
    """One named case. It is false if fewer than half of its accounts are of one campaign."""

    world: int
    accounts: int
    guilty: int
    """Of the campaign that it has most of."""
    campaigns: dict[str, int]
    innocents: dict[str, int]
    """Accounts of no campaign, by kind."""
    kind: str
    false: bool
    said: str


class WorldRow(Part):
    """A world, searched. `code` is of the sources that searched it."""

    world: int
    sort: str
    code: str
    level: float
    privacy: str
    by_day: bool
    made_s: float
    ingest_s: float
    find_s: float
    peak_gb: float
    """Of the process that searched this world, and those before it in the same run."""
    candidates: int
    benign: int
    benign_kinds: dict[str, int]
    members: dict[str, int]
    """The accounts of each campaign."""
    hits: tuple[Hit, ...]
    cases: tuple[Case, ...]
    named: dict[str, float]
    """The accounts in cases, with log10 of the largest E of a group that names each."""


def is_fair(families: Collection[str], accounts: int, mix: float) -> bool:
    """Tell whether a campaign is to be found: two families, 20 accounts, at most half unrelated."""
    return len(families) >= 2 and accounts >= 20 and mix <= 0.5


def case_of(world: int, found: Campaign, truth: Truth) -> Case:
    """Return what a named case is in truth."""
    names = names_of(found.accounts, truth)
    innocents = Counter(truth.kind[a] for a in found.accounts if truth.campaign[a] == INNOCENT)
    guilty = max(names.values(), default=0)
    kinds = Counter(truth.kind[one] for one in found.accounts)
    return Case(
        world=world,
        accounts=len(found.accounts),
        guilty=guilty,
        campaigns=dict(names),
        innocents=dict(innocents),
        kind=kinds.most_common(1)[0][0],
        false=2 * guilty < len(found.accounts),
        said=" | ".join(_said(one) for one in found.candidates),
    )


def named_in(found: CampaignsFound, truth: Truth) -> dict[str, float]:
    """Return the accounts in cases, with log10 of the largest E of a group that names each."""
    of_party: dict[str, list[str]] = defaultdict(list)
    for account, party in truth.party.items():
        of_party[party].append(account)
    named: dict[str, float] = {}
    for campaign in found.campaigns:
        mine = set(campaign.accounts)
        groups = sorted(campaign.candidates, key=lambda group: group.log10_e)
        named.update(dict.fromkeys(campaign.accounts, groups[0].log10_e))
        for one in groups:
            for party in one.carried_by:
                named.update((a, one.log10_e) for a in of_party[party] if a in mine)
    return dict(sorted(named.items()))


def true_of(found: CampaignsFound, truth: Truth) -> dict[str, list[Campaign]]:
    """Return the true cases of each campaign: those half of whose accounts are of it."""
    true: dict[str, list[Campaign]] = defaultdict(list)
    for one in found.campaigns:
        if (name := true_name(one.accounts, truth)) is not None:
            true[name].append(one)
    return true


def true_name(accounts: Collection[str], truth: Truth) -> str | None:
    """Return the campaign that half of a case's accounts are of; None for a false case."""
    names = names_of(accounts, truth)
    name = min(names, key=lambda one: (-names[one], one), default=None)
    return None if name is None or 2 * names[name] < len(accounts) else name


def names_of(accounts: Collection[str], truth: Truth) -> Counter[str]:
    """Return how many of some accounts are of each campaign."""
    names = Counter(truth.campaign[one] for one in accounts)
    del names[INNOCENT]
    return names


def hits_of(world: int, found: CampaignsFound, truth: Truth, *, told: bool = True) -> list[Hit]:
    """Return what became of each campaign of a world: only true cases count.

    Unless `told`, nothing is said of a campaign's best groups, so that nobody learns from them.
    """
    true = true_of(found, truth)
    return [_hit(world, known, true, found, truth, told) for known in truth.campaigns]


def _hit(
    world: int,
    known: Known,
    true: dict[str, list[Campaign]],
    found: CampaignsFound,
    truth: Truth,
    told: bool,
) -> Hit:
    members = truth.members(known.campaign_id)
    cases = true.get(known.campaign_id, [])
    caught = members & {account for one in cases for account in one.accounts}
    mine = sum(truth.related.get(a, 0) for a in caught)
    parties = {truth.party[a] for a in members}
    return Hit(
        world=world,
        campaign=known.campaign_id,
        mechanism=known.mechanism,
        cover=known.cover,
        accounts=known.accounts,
        rate=known.rate,
        mix=known.mix,
        days=known.days,
        families=known.families,
        templates=known.templates,
        languages=known.languages,
        paraphrase=known.paraphrase,
        requests=known.requests,
        share=mine / max(known.requests, 1),
        named=len(caught),
        cases=len(cases),
        held=tuple(sorted({family for one in cases for family in one.families})),
        why="named" if cases else _why(found, members, parties),
        best=_best(found.candidates, parties) if told else "",
    )


def _why(found: CampaignsFound, accounts: frozenset[str], members: set[str]) -> Why:
    """Say how far an unnamed campaign came."""
    if any(len(accounts & set(one.accounts)) >= _HALF * len(accounts) for one in found.campaigns):
        return "in another case"
    candidates = found.candidates
    groups = [(sum(p in members for p in one.parties), len(one.parties)) for one in candidates]
    holding = [(inside, size) for inside, size in groups if inside >= _HALF * len(members)]
    if not holding:
        return "scattered"
    if not any(inside >= _HALF * size for inside, size in holding):
        return "among others"
    return "not convicted"


def _best(candidates: Sequence[Candidate], members: set[str]) -> str:
    """Say of each way to choose which group has most of a campaign, and what was said of it."""
    best: dict[str, tuple[int, str]] = {}
    for one in candidates:
        inside = sum(party in members for party in one.parties)
        if inside > best.get(one.chosen_by, (0, ""))[0]:
            best[one.chosen_by] = (inside, f"{inside} of {_said(one)}")
    return " | ".join(text for _, text in best.values())


def _said(one: Candidate) -> str:
    signals = ", ".join(
        f"{s.signal} {s.observed:g}/{s.expected:g}"
        + ("" if s.log10_e is None else f" e{s.log10_e:.1f}")
        for s in one.signals
    )
    return f"{len(one.parties)} by {one.chosen_by}, e{one.log10_e:.1f}: {signals}"
