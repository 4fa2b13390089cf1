"""Accounts: what the account table says of each, and how each of them behaves."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from potstill.simulator.covers import USUAL, Cover
from potstill.simulator.fit import clients
from potstill.simulator.groups import Group
from potstill.simulator.hashing import Keys, keyed
from potstill.simulator.spec import LANGUAGES, Look, Relation

Rng = np.random.Generator
DAY_S = 86_400
# Country, time zone, its hours from UTC (winter), language, where accounts are (shares).
PLACES = (
    ("US", "America/New_York", -5, "en", 0.2), ("US", "America/Los_Angeles", -8, "en", 0.14),
    ("GB", "Europe/London", 0, "en", 0.08), ("DE", "Europe/Berlin", 1, "de", 0.09),
    ("FR", "Europe/Paris", 1, "fr", 0.07), ("ES", "Europe/Madrid", 1, "es", 0.06),
    ("BR", "America/Sao_Paulo", -3, "es", 0.06), ("IN", "Asia/Kolkata", 5, "en", 0.12),
    ("SG", "Asia/Singapore", 8, "en", 0.06), ("JP", "Asia/Tokyo", 9, "en", 0.05),
    ("CN", "Asia/Shanghai", 8, "zh", 0.07),
)  # fmt: skip
_SHARES = np.array([p[-1] for p in PLACES], dtype=np.float64)
_FREE_MAIL, _NO_DEVICE, _NO_SUBNET, _CARRIER = 12, 0.3, 0.05, 0.15


@dataclass(frozen=True)
class People:
    """One row an account; a key of 0 is null in the account table."""

    group: NDArray[np.int32]
    account: Keys
    created_s: NDArray[np.int64]
    """Seconds before the world's start (negative) of the sign-up."""
    plan: NDArray[np.int8]
    payment: Keys
    domain: Keys
    device: Keys
    subnet: Keys
    asn: NDArray[np.int32]
    place: NDArray[np.int8]
    tenant: Keys
    agent: NDArray[np.int8]
    address: Keys
    """Key of the addresses that its requests come from."""
    addresses: NDArray[np.int32]
    language: NDArray[np.int8]
    flat: NDArray[np.bool_]
    cv: NDArray[np.float32]
    weight: NDArray[np.float64]
    """Its requests, relative to those of the others of its group."""
    generation: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.group)


def joined(parts: list[People]) -> People:
    """Return all parts as one, in order."""
    return People(
        **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(People)}
    )


def _keys(rng: Rng, count: int) -> Keys:
    return rng.integers(1, 2**63, size=count).astype(np.uint64)


def _lender(rng: Rng, able: NDArray[np.bool_], share: float, cluster: int) -> NDArray[np.int64]:
    """Return for each account whose value it takes: its own, or that of its cluster's first.

    Only those who have a value can lend or take one, so that sharing leaves every share of
    missing values, countries and providers as it was.
    """
    lender = np.arange(len(able))
    takers = rng.permutation(np.flatnonzero(able & (rng.random(len(able)) < share)))
    lender[takers] = takers[np.arange(len(takers)) // cluster * cluster]
    return lender


def _weighted(rng: Rng, weights: tuple[float, ...], count: int) -> NDArray[np.int64]:
    share = np.array(weights, dtype=np.float64)
    return rng.choice(len(share), size=count, p=share / share.sum())


def _created(rng: Rng, look: Look, relation: Relation, count: int) -> NDArray[np.int64]:
    """Draw sign-ups, in seconds from the world's start: a week before, or months."""
    within = rng.exponential(6.0, size=count)
    if relation.signup:
        within = rng.exponential(6.0) + rng.uniform(0, 1 / 24, size=count)
    months = rng.lognormal(5.2, 1.0, size=count) + 7.0
    fresh = rng.random(count) < look.fresh
    age_days = np.where(fresh, within - look.first_day, months)
    return -(age_days * DAY_S + 600).astype(np.int64)


def people(
    rng: Rng, world: int, group: int, cover: Cover, look: Look, relation: Relation, count: int
) -> People:
    """Draw the accounts of a group."""
    place = rng.choice(len(PLACES), size=count, p=_SHARES / _SHARES.sum()).astype(np.int8)
    asn = (64_512 + place.astype(np.int64) * 16 + rng.integers(0, 6, size=count)).astype(np.int32)
    carrier = keyed(world, 1_000 * (place.astype(np.int64) + 1) + rng.geometric(0.2, size=count))
    carried = rng.random(count) < _CARRIER
    own = np.where(carried, carrier, _keys(rng, count))
    subnet = np.where(rng.random(count) < _NO_SUBNET, np.uint64(0), own)
    near = _lender(rng, subnet > 0, relation.subnet, relation.cluster)
    moved = near != np.arange(count)
    moved[near[moved]] = True
    plan = _weighted(rng, cover.plans, count).astype(np.int8)
    pays = plan > 0
    payment = np.where(pays, _keys(rng, count), np.uint64(0))
    payer = _lender(rng, pays, relation.payment, relation.cluster)
    corporate = rng.random(count) < cover.corporate
    mail = keyed(world, rng.integers(0, _FREE_MAIL, size=count))
    domain = np.where(corporate, _keys(rng, count), mail)
    colleague = _lender(rng, corporate, relation.domain, relation.cluster)
    device = np.where(rng.random(count) < _NO_DEVICE, np.uint64(0), _keys(rng, count))
    user = _lender(rng, device > 0, relation.device, relation.cluster)
    has_tenant = rng.random(count) < cover.tenant
    contracts = _keys(rng, 1) if relation.tenant else _keys(rng, count)
    # Strangers behind one carrier, and colleagues behind one office, share its addresses.
    behind = (moved | carried) & (subnet[near] > 0)
    address = np.where(behind, keyed(world, subnet[near]), _keys(rng, count))
    addresses = rng.integers(1, cover.clients + 1, size=count)
    addresses = np.where(moved, 4, np.where(behind, 64, addresses))
    if relation.relay:
        address, addresses = np.repeat(_keys(rng, 1), count), np.full(count, relation.relay)
    choices = [LANGUAGES.index(name) for name in look.languages]
    drawn = clients(rng, count)
    return People(
        group=np.full(count, group, dtype=np.int32),
        account=_keys(rng, count),
        created_s=_created(rng, look, relation, count),
        plan=plan,
        payment=payment[payer],
        domain=domain[colleague],
        device=device[user],
        subnet=subnet[near],
        asn=asn[near],
        place=place[near],
        tenant=np.where(has_tenant, contracts, np.uint64(0)),
        agent=_weighted(rng, cover.agents, count).astype(np.int8),
        address=address,
        addresses=addresses.astype(np.int32),
        language=rng.choice(choices, size=count).astype(np.int8),
        flat=rng.random(count) < look.flat,
        cv=np.exp(drawn["log_cv"]).astype(np.float32),
        weight=rng.lognormal(-0.045, 0.3, size=count),
        generation=(np.arange(count) * relation.generations // max(count, 1)).astype(np.int8),
    )


def ordinary(rng: Rng, world: int, group: int, count: int, days: int) -> People:
    """Draw the ordinary accounts, whose rates are spread as ServeGen's clients are."""
    look = Look(cover="", rate=0.0, fresh=0.1, flat=0.15, days=days)
    # A few share a card, an office or a company.
    some = Relation(payment=0.06, device=0.02, subnet=0.05, domain=0.15, cluster=3)
    drawn = people(rng, world, group, USUAL, look, some, count)
    speaks = np.array([LANGUAGES.index(p[3]) for p in PLACES], dtype=np.int8)[drawn.place]
    drawn.language[:] = np.where(rng.random(count) < 0.75, speaks, 0)
    # The fitted spread is of whole applications: the logs are halved, as single accounts differ
    # less, and cut so that no account is more than a few hundredths of a world.
    log_rate = clients(rng, count)["log_rate"] * 0.5
    drawn.weight[:] = np.exp(np.minimum(log_rate, np.quantile(log_rate, 0.5) + 4.0))
    return drawn


def of_group(rng: Rng, world: int, number: int, group: Group, cover: Cover) -> People:
    """Draw the accounts of an awkward group or a campaign."""
    return people(rng, world, number, cover, group.look, group.relation, group.accounts)


def first_of(everybody: People, count: int) -> People:
    """Return the first accounts."""
    return People(**{f.name: getattr(everybody, f.name)[:count] for f in fields(People)})
