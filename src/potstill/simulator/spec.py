"""What a world is made from. A frozen spec and the simulator's version decide every byte of it."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A change of any source needs a new one: results name the version that they were made with.
VERSION = 1

# The kinds of innocent traffic that look like a campaign in one way or another.
AWKWARD = (
    "evaluation_suite", "synthetic_data", "llm_judge", "ci_keys", "translation_etl",
    "coding_harness", "classroom_nat", "reseller_gateway", "launch_rush", "retry_storm",
    "key_rotation", "hackathon",
)  # fmt: skip
INTENTS = ("plain", "reasoning", "rubric", "long")
LANGUAGES = ("en", "de", "es", "fr", "zh")
FAMILIES = ("content", "time", "infrastructure", "intent")


@dataclass(frozen=True)
class Look:
    """Everything that decides how one request or one account looks by itself.

    A campaign and its matched awkward groups have the same look; only relations differ.
    """

    cover: str
    """The awkward kind whose requests these are like."""
    rate: float
    """Requests of an account on an average day, unrelated ones included."""
    mix: float = 0.0
    """Share of an account's requests that are unrelated and ordinary."""
    intent: str = "plain"
    languages: tuple[str, ...] = ("en",)
    paraphrase: float = 0.0
    """Chance that a phrase of a template is worded anew in a request; at 1 no template is left."""
    flat: float = 0.0
    """Share of accounts without idle hours."""
    fresh: float = 0.0
    """Share of accounts that signed up within about a week of their first request."""
    adoption: float = 0.0
    """Share of requests that go to the new model from its launch on."""
    fails: float = 0.0
    """Share of requests that begin a burst of refusals (429), beside the ordinary failures."""
    first_day: int = 0
    days: int = 7


@dataclass(frozen=True)
class Relation:
    """What joins the accounts of a group: the only thing that tells a campaign from its match."""

    templates: int = 0
    """Templates that all accounts share; at 0 each account has one of its own."""
    items: str = "own"
    """`sharded`: a list dealt out once; `same`: all work on one list of `pool` items; `own`: each
    account has a list of `pool` items, drawn from ten times as many."""
    pool: int = 300
    by_row: bool = False
    """Language (and, without shared templates, the template) changes from request to request."""
    ticks: int = 0
    """Moments a day at which all accounts act; 0 for none."""
    jitter_s: float = 0.0
    """Mean delay after such a moment, in seconds."""
    turns: bool = False
    """Accounts take turns: while one works the others rest."""
    handoff: bool = False
    """After a refusal another account takes the request over."""
    generations: int = 1
    """Sets of accounts that follow one another."""
    payment: float = 0.0
    """Share of accounts that share a payment with others of the group; so for the next three."""
    device: float = 0.0
    subnet: float = 0.0
    domain: float = 0.0
    cluster: int = 8
    """Accounts that share one payment, device, subnet or domain."""
    signup: bool = False
    """Accounts were made within an hour of one another."""
    tenant: bool = False
    """All accounts stand under one contract."""
    relay: int = 0
    """Addresses that all requests leave through, shared by all accounts; 0 for none."""


@dataclass(frozen=True)
class CampaignSpec:
    """Accounts that act together."""

    campaign_id: str
    mechanism: str
    held_out: bool
    accounts: int
    look: Look
    relation: Relation

    @property
    def families(self) -> tuple[str, ...]:
        """The families of evidence that it leaves, by how it was made; never by a detector."""
        r, many = self.relation, self.accounts > 1
        linked = max(r.payment, r.device, r.subnet, r.domain) * self.accounts
        # Whoever hides among a gateway's chats uses no template either.
        worded = self.look.cover != "reseller_gateway"
        together = r.ticks > 0 and r.jitter_s <= 60
        left = {
            "content": many and worded and 0 < r.templates <= 16 and self.look.paraphrase <= 0.5,
            "time": many and (together or r.turns or r.handoff or r.generations > 1),
            "infrastructure": many and (linked >= 10 or r.relay > 0),
            "intent": self.look.intent in ("reasoning", "rubric"),
        }
        return tuple(name for name in FAMILIES if left[name])


@dataclass(frozen=True)
class WorldSpec:
    """A world; everything in it that is not named here is drawn from the seed."""

    seed: int
    requests: int
    days: int = 7
    start: str = "2026-03-02"
    """Its first day, UTC; a Monday."""
    launch_day: int = 3
    """The day on which the new model can first be asked."""
    awkward_share: float = 0.36
    """Requests of awkward innocents, of all requests."""
    campaigns: tuple[CampaignSpec, ...] = ()
    kinds: tuple[str, ...] = AWKWARD
    """The awkward kinds that fill the share."""
    matched_accounts: float = 1.0
    """Requests of a campaign's matched awkward groups, for each request of the campaign."""
    version: int = field(default=VERSION)


def to_json(spec: WorldSpec) -> str:
    """Return a spec as JSON, which `from_json` reads back."""
    return json.dumps(dataclasses.asdict(spec), indent=1)


def from_json(path: Path) -> WorldSpec:
    """Read a spec; ValueError where it is another version's or no spec."""
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    read = read.get("spec", read)
    if read.get("version") != VERSION:
        raise ValueError(f"{path} is of version {read.get('version')}, this simulator is {VERSION}")
    campaigns = tuple(_campaign(c) for c in read.pop("campaigns", ()))
    return WorldSpec(campaigns=campaigns, kinds=tuple(read.pop("kinds", AWKWARD)), **read)


def _campaign(read: dict[str, Any]) -> CampaignSpec:
    look = read["look"] | {"languages": tuple(read["look"]["languages"])}
    return CampaignSpec(**(read | {"look": Look(**look), "relation": Relation(**read["relation"])}))
