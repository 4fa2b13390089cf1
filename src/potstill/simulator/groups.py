"""The groups of a world: campaigns, the awkward groups matched to them, and other awkward ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from potstill.simulator.covers import drawn_look
from potstill.simulator.spec import CampaignSpec, Look, Relation, WorldSpec

Rng = np.random.Generator


@dataclass(frozen=True)
class Group:
    """Accounts with one look and one relation, and what they are in truth."""

    kind: str
    """An awkward kind, or `campaign`."""
    accounts: int
    look: Look
    relation: Relation
    campaign: str | None = None
    matched: str | None = None
    """The campaign whose look it was given."""

    @property
    def volume(self) -> float:
        """Expected requests that are not unrelated ones."""
        return self.accounts * self.look.rate * (1 - self.look.mix) * self.look.days


def _suite(rng: Rng) -> Relation:
    return Relation(
        templates=int(rng.integers(1, 4)), items="same", pool=int(rng.choice((200, 800)))
    )


def _synthetic(rng: Rng) -> Relation:
    templates = int(rng.integers(1, 9))
    return Relation(templates=templates, items="sharded", payment=1.0, tenant=True, cluster=1_000)


def _judge(rng: Rng) -> Relation:
    return Relation(templates=int(rng.choice((0, 0, 1))), items="own", pool=400)


def _pipeline(rng: Rng) -> Relation:
    return Relation(
        templates=int(rng.integers(1, 5)), pool=60, payment=1.0, tenant=True, cluster=100
    )


def _translation(rng: Rng) -> Relation:
    ticks, jitter = int(rng.choice((4, 24))), float(rng.choice((20, 120)))
    return Relation(
        templates=int(rng.integers(1, 4)), items="sharded", ticks=ticks, jitter_s=jitter,
        payment=1.0, subnet=0.5, tenant=True, cluster=1_000,
    )  # fmt: skip


def _harness(rng: Rng) -> Relation:
    return Relation(templates=0, pool=200)


def _classroom(rng: Rng) -> Relation:
    return Relation(
        templates=int(rng.integers(1, 6)), items="same", pool=20, ticks=6, jitter_s=300.0,
        subnet=1.0, domain=1.0, signup=True, cluster=1_000,
    )  # fmt: skip


def _gateway(rng: Rng) -> Relation:
    return Relation(
        templates=0, by_row=True, turns=bool(rng.random() < 0.5), payment=1.0, subnet=1.0,
        tenant=True, cluster=1_000, pool=5_000, handoff=bool(rng.random() < 0.5),
    )  # fmt: skip


def _rush(rng: Rng) -> Relation:
    return Relation(templates=int(rng.integers(1, 7)), items="same", pool=60)


def _storm(rng: Rng) -> Relation:
    return Relation(templates=int(rng.integers(1, 4)) if rng.random() < 0.5 else 0, pool=100)


def _rotation(rng: Rng) -> Relation:
    return Relation(
        templates=int(rng.integers(1, 5)), items="sharded", generations=int(rng.integers(2, 5)),
        payment=1.0, device=0.5, tenant=True, cluster=1_000,
    )  # fmt: skip


def _hackathon(rng: Rng) -> Relation:
    return Relation(
        templates=int(rng.integers(1, 5)), pool=40, signup=True, subnet=0.7, cluster=1_000
    )


# The least and most accounts of a group of each kind, and what joins them.
INNOCENT: dict[str, tuple[int, int, Callable[[Rng], Relation]]] = {
    "evaluation_suite": (5, 60, _suite),
    "synthetic_data": (2, 40, _synthetic),
    "llm_judge": (1, 10, _judge),
    "ci_keys": (1, 4, _pipeline),
    "translation_etl": (2, 30, _translation),
    "coding_harness": (200, 3_000, _harness),
    "classroom_nat": (15, 60, _classroom),
    "reseller_gateway": (1, 4, _gateway),
    "launch_rush": (50, 500, _rush),
    "retry_storm": (1, 10, _storm),
    "key_rotation": (4, 12, _rotation),
    "hackathon": (20, 120, _hackathon),
}


# How much of the awkward traffic a kind comes to, where that is not 1; and how much of it one group
# may be. A public harness is one group of very many accounts.
WEIGHT, LARGEST = {"coding_harness": 4.0}, {"coding_harness": 1.0}
_WEIGHT, _LARGEST = 1.0, 1 / 3


def innocent(kind: str, rng: Rng, look: Look, most: float, matched: str | None = None) -> Group:
    """Return an awkward group of about `most` requests or fewer, as large as its kind comes."""
    least, largest, relation = INNOCENT[kind]
    accounts = int(np.exp(rng.uniform(np.log(least), np.log(largest + 1))))
    alone = look.rate * (1 - look.mix) * look.days
    accounts = max(1, min(accounts, round(most / alone)))
    return Group(kind, accounts, look, relation(rng), matched=matched)


def _matched(campaign: CampaignSpec, rng: Rng, ratio: float) -> Iterator[Group]:
    own = Group("campaign", campaign.accounts, campaign.look, campaign.relation)
    left = own.volume * ratio
    alone = own.volume / own.accounts
    while left >= alone / 2:
        group = innocent(campaign.look.cover, rng, campaign.look, left, campaign.campaign_id)
        left -= group.volume
        yield group


def groups_of(spec: WorldSpec) -> list[Group]:
    """Return every group of a world but the ordinary accounts, in an order that never changes."""
    rng = np.random.default_rng([spec.version, spec.seed, 2])
    found = [
        Group("campaign", c.accounts, c.look, c.relation, campaign=c.campaign_id)
        for c in spec.campaigns
    ]
    for campaign in spec.campaigns:
        found += _matched(campaign, rng, spec.matched_accounts)
    wanted = spec.awkward_share * spec.requests
    came_to = dict.fromkeys(spec.kinds, 0.0)
    for group in found:
        if group.kind in came_to:
            came_to[group.kind] += group.volume
    weight = {kind: WEIGHT.get(kind, _WEIGHT) for kind in spec.kinds}
    while spec.kinds and sum(came_to.values()) < wanted:
        # The kind that lacks most of its part.
        kind = min(came_to, key=lambda k: came_to[k] / weight[k])
        look = drawn_look(kind, rng, spec.days, spec.launch_day)
        part = wanted * weight[kind] / sum(weight.values())
        lacks = max(part - came_to[kind], part / 20, 20.0)
        most = min(part * LARGEST.get(kind, _LARGEST), lacks)
        alone = look.rate * (1 - look.mix) * look.days
        if alone > most:
            look = dataclasses.replace(look, rate=6.0)
        group = innocent(kind, rng, look, most)
        came_to[kind] += group.volume
        found.append(group)
    return found
