"""Cases as bundles of STIX 2.1 (OASIS standard, 10 June 2021), for those who exchange such.

A case is a Grouping of suspicious activity, with a Sighting of each technique of MITRE ATLAS. It is
made to leave the house, so that no account is in it. Ids come of what they are ids of, so that the
next run's bundle takes the place of an earlier one.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal
from uuid import UUID, uuid5

from potstill.watch.case.models import Action, Case, TechniqueNamed
from potstill.watch.evidence import FoundPart

WHAT_IT_IS_NOT = (
    "What this is not: it names nobody behind the accounts, it is no finding about a single "
    "account, and it does not know what answers were used for. Accounts that something innocent "
    "joins can look the same, so that a person has to look before anything is done."
)
# Of the scale None, Low, Med, High (STIX 2.1, appendix A); never above Med, as in OCSF.
CONFIDENCE: dict[Action, int] = {"look": 15, "ask": 15, "limit": 50}
_NAMES = UUID("5b0c1f0e-2f0b-5a39-9d6b-0d4a53c1b7a4")
# When the objects were made that are the same in every bundle.
_DEFINED = "2026-11-30T00:00:00.000Z"
Version = Literal["2.1"]


class StixReference(FoundPart):
    """Where a technique is described."""

    source_name: Literal["mitre-atlas"] = "mitre-atlas"
    external_id: str
    url: str


class StixIdentity(FoundPart):
    """What made the bundle."""

    type: Literal["identity"] = "identity"
    spec_version: Version = "2.1"
    id: str
    created: str = _DEFINED
    modified: str = _DEFINED
    name: Literal["potstill watch"] = "potstill watch"
    identity_class: Literal["system"] = "system"


class StixTechnique(FoundPart):
    """A technique."""

    type: Literal["attack-pattern"] = "attack-pattern"
    spec_version: Version = "2.1"
    id: str
    created_by_ref: str
    created: str = _DEFINED
    modified: str = _DEFINED
    name: str
    external_references: tuple[StixReference, ...]


class StixOfCase(FoundPart):
    """What a case's own objects have in common."""

    spec_version: Version = "2.1"
    id: str
    created_by_ref: str
    created: str
    modified: str
    revoked: bool
    confidence: int
    description: str


class StixSighting(StixOfCase):
    """A technique that a case would be an instance of."""

    type: Literal["sighting"] = "sighting"
    first_seen: str
    last_seen: str
    sighting_of_ref: str


class StixGrouping(StixOfCase):
    """A case."""

    type: Literal["grouping"] = "grouping"
    name: str
    context: Literal["suspicious-activity"] = "suspicious-activity"
    object_refs: tuple[str, ...]


class StixBundle(FoundPart):
    """All objects of one case."""

    type: Literal["bundle"] = "bundle"
    id: str
    objects: tuple[StixIdentity | StixTechnique | StixSighting | StixGrouping, ...]


def bundle_of(case: Case, created_at: datetime) -> StixBundle:
    """Return a case as a bundle; `created_at` is when the run made it. A closed one is revoked."""
    maker = StixIdentity(id=_id("identity", "potstill watch"))
    techniques = tuple(_technique(one, maker.id) for one in case.inference.techniques)
    begun = _moment(f"{case.history.first_found}T00:00:00+00:00")
    now = max(_moment(created_at.isoformat()), begun)
    values = {one.name: str(one.value) for one in case.facts.totals}
    closed = case.history.status == "closed"
    confidence = CONFIDENCE[case.inference.action]
    sightings = tuple(
        StixSighting(
            id=_id("sighting", case.case_id, one.uid),
            created_by_ref=maker.id,
            created=begun,
            modified=now,
            revoked=closed,
            confidence=confidence,
            description=f"{one.because[0].upper()}{one.because[1:]}. {WHAT_IT_IS_NOT}",
            first_seen=_moment(values["first request"]),
            last_seen=_moment(values["last request"]),
            sighting_of_ref=technique.id,
        )
        for one, technique in zip(case.inference.techniques, techniques, strict=True)
    )
    about = case.inference
    grouping = StixGrouping(
        id=_id("grouping", case.case_id),
        created_by_ref=maker.id,
        created=begun,
        modified=now,
        revoked=closed,
        confidence=confidence,
        name=f"Case {case.case_id}: accounts that act together",
        description=f"{case.sentence} {about.strength} {about.false_says} {WHAT_IT_IS_NOT}",
        object_refs=(*(one.id for one in techniques), *(one.id for one in sightings)),
    )
    return StixBundle(
        id=_id("bundle", case.case_id, now),
        objects=(maker, *techniques, *sightings, grouping),
    )


def _technique(one: TechniqueNamed, maker: str) -> StixTechnique:
    url = f"https://atlas.mitre.org/techniques/{one.uid}"
    return StixTechnique(
        id=_id("attack-pattern", one.uid),
        created_by_ref=maker,
        name=one.name,
        external_references=(StixReference(external_id=one.uid, url=url),),
    )


def _id(kind: str, *parts: str) -> str:
    return f"{kind}--{uuid5(_NAMES, ' '.join((kind, *parts)))}"


def _moment(text: str) -> str:
    """Return a moment as STIX writes it: UTC, in milliseconds."""
    when = datetime.fromisoformat(text)
    when = when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{when.microsecond // 1000:03d}Z"
