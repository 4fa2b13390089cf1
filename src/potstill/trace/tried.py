"""The chain of one teacher: which plans were fixed and run, so that a verdict can say how many.

Suspects stand in it by keyed digests alone: a bundle carries the chain, and whoever gets one is not
told whom else the owner has tested. The secret of these digests lies beside the chain and never in
a bundle; where it is lost, suspects are counted anew, which makes them more and never fewer.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

from blake3 import blake3
from pydantic import Field, TypeAdapter, ValidationError

from potstill.errors import PotstillError
from potstill.trace.chain import Link, origin_of
from potstill.trace.finding import TraceRecord
from potstill.trace.plan import SuspectFacts, TracePlan, Tried
from potstill.watermark.keys import write_secret

_SECRET_BYTES = 32


class ChainBegun(TraceRecord):
    """The first record: whose chain it is."""

    event: Literal["begun"] = "begun"
    at: datetime
    teacher: str


class PlanFixed(TraceRecord):
    """A plan, before anything was asked for it."""

    event: Literal["plan fixed"] = "plan fixed"
    at: datetime
    plan: str
    suspect: str
    checkpoint: str
    keys: tuple[str, ...] = ()
    proof: int = Field(0, ge=0)
    descent: int = Field(0, ge=0)
    support: int = Field(0, ge=0)


class RunFinished(TraceRecord):
    """A plan's run: the digests of all files of its bundle, by their names in it."""

    event: Literal["run finished"] = "run finished"
    at: datetime
    plan: str
    files: dict[str, str]


class KeyRetired(TraceRecord):
    """An epoch's key that was handed over: whoever has it can write its marks from now on."""

    event: Literal["key retired"] = "key retired"
    at: datetime
    key: str
    epoch: str


ChainEvent = Annotated[
    ChainBegun | PlanFixed | RunFinished | KeyRetired, Field(discriminator="event")
]
_EVENT: TypeAdapter[ChainBegun | PlanFixed | RunFinished | KeyRetired] = TypeAdapter(ChainEvent)


def teacher_origin(teacher: str) -> str:
    """Return what the chain of a teacher's identity begins from."""
    return origin_of("teacher", teacher)


def events_of(
    path: Path, links: Iterable[Link]
) -> tuple[ChainBegun | PlanFixed | RunFinished | KeyRetired, ...]:
    """Return what the records of a teacher's chain tell; raises PotstillError for another's."""
    found = []
    for link in links:
        try:
            found.append(_EVENT.validate_python(dict(link.content)))
        except ValidationError:
            raise PotstillError(
                f"record {link.number} of {path} is none that this version of potstill knows; use "
                "the version that wrote it"
            ) from None
    return tuple(found)


def tried_in(events: Sequence[TraceRecord]) -> Tried:
    """Return how much was tried, as far as the records of a chain tell."""
    plans = [event for event in events if isinstance(event, PlanFixed)]
    return Tried(
        plans=len(plans),
        suspects=len({plan.suspect for plan in plans}),
        checkpoints=len({plan.checkpoint for plan in plans}),
        keys=len({key for plan in plans for key in plan.keys}),
        proof=sum(plan.proof for plan in plans),
        descent=sum(plan.descent for plan in plans),
        support=sum(plan.support for plan in plans),
    )


def fixed_record(plan: TracePlan, secret: bytes) -> PlanFixed:
    """Return the record of a plan that is fixed now."""
    return PlanFixed(
        at=plan.created_at,
        plan=plan.digest,
        suspect=_keyed(secret, _named(plan.suspect)),
        checkpoint=_keyed(secret, _named(plan.suspect), *_version(plan.suspect)),
        keys=tuple(sorted({one.digest for one in plan.sources if one.kind == "key"})),
        proof=plan.count("proof"),
        descent=plan.count("descent"),
        support=plan.count("support"),
    )


def chain_secret(chain: Path) -> bytes:
    """Return the secret of a chain's keyed digests, made where there is none.

    It lies beside the chain, for its owner's eyes alone. Raises PotstillError where it is damaged.
    """
    path = chain.with_name(f"{chain.name}.secret")
    if not path.exists():
        write_secret(path, secrets.token_hex(_SECRET_BYTES))
    try:
        found = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except ValueError:
        found = b""
    if len(found) != _SECRET_BYTES:
        raise PotstillError(
            f"{path} is damaged; bring it back from a copy, or take it away: suspects are counted "
            "anew then"
        )
    return found


def _named(suspect: SuspectFacts) -> str:
    return f"{suspect.kind}\0{suspect.name}"


def _version(suspect: SuspectFacts) -> tuple[str, ...]:
    return (suspect.identity or "", *suspect.digests)


def _keyed(secret: bytes, *facts: str) -> str:
    return blake3("\0".join(facts).encode(), key=secret).hexdigest()
