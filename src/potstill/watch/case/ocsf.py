"""Cases as Detection Findings of the Open Cybersecurity Schema Framework, version 1.5.0.

One line of findings.jsonl is one finding. What was measured stands in `evidences`, what follows in
`finding_info` and `confidence`. Techniques are MITRE ATLAS': the object that OCSF calls `attacks`
names its own version, which says whose they are.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal

from potstill.watch.case.models import Action, Case, TechniqueNamed, Value
from potstill.watch.evidence import FoundPart

OCSF = "1.5.0"
ATLAS = "MITRE ATLAS 5.5"
CLASS_UID = 2004
# A consumer that takes whole events would choke on 20,000 accounts.
MOST_RESOURCES = 200
_CREATE, _UPDATE, _CLOSE = 1, 2, 3
_NEW, _SUPPRESSED = 1, 3
_SEVERITY: dict[Action, tuple[int, str]] = {
    "look": (1, "Informational"),
    "ask": (2, "Low"),
    "limit": (3, "Medium"),
}
_CONFIDENCE: dict[Action, tuple[int, str]] = {
    "look": (1, "Low"),
    "ask": (1, "Low"),
    "limit": (2, "Medium"),
}


class OcsfProduct(FoundPart):
    """Who reports."""

    name: str = "potstill"
    vendor_name: str = "potstill"
    version: str


class OcsfMetadata(FoundPart):
    """Which schema, and who reports."""

    version: str = OCSF
    product: OcsfProduct
    uid: str
    labels: tuple[str, ...] = ()


class OcsfName(FoundPart):
    """A tactic, a technique or a part of one."""

    uid: str
    name: str
    src_url: str


class OcsfAttack(FoundPart):
    """A technique with its tactic."""

    version: str = ATLAS
    tactic: OcsfName
    technique: OcsfName
    sub_technique: OcsfName | None = None


class OcsfAnalytic(FoundPart):
    """What found it."""

    name: str = "potstill watch"
    type: str = "Statistical"
    type_id: int = 3
    uid: str = "potstill/watch"
    version: str


class OcsfFindingInfo(FoundPart):
    """What was found."""

    uid: str
    title: str
    desc: str
    analytic: OcsfAnalytic
    attacks: tuple[OcsfAttack, ...]
    created_time: int
    first_seen_time: int
    last_seen_time: int
    types: tuple[str, ...] = ("model extraction",)


class OcsfResource(FoundPart):
    """An account of a case."""

    uid: str
    name: str
    type: str = "account"
    labels: tuple[str, ...] = ()


class OcsfEvidence(FoundPart):
    """One figure with its query."""

    name: str
    data: dict[str, Value]


class OcsfRemediation(FoundPart):
    """What may be done."""

    desc: str


class OcsfFinding(FoundPart):
    """One event of the class Detection Finding."""

    metadata: OcsfMetadata
    activity_id: int
    activity_name: str
    category_uid: Literal[2] = 2
    category_name: str = "Findings"
    class_uid: int = CLASS_UID
    class_name: str = "Detection Finding"
    type_uid: int
    time: int
    severity_id: int
    severity: str
    confidence_id: int
    confidence: str
    status_id: int
    status: str
    status_detail: str | None = None
    message: str
    count: int
    start_time: int
    end_time: int
    finding_info: OcsfFindingInfo
    resources: tuple[OcsfResource, ...]
    evidences: tuple[OcsfEvidence, ...]
    remediation: OcsfRemediation


def finding_of(case: Case, created_at: datetime, version: str) -> OcsfFinding:
    """Return a case as a finding; `created_at` is when the run made it."""
    values = {one.name: one.value for one in case.facts.totals}
    first, last = _ms(str(values["first request"])), _ms(str(values["last request"]))
    closed = case.history.status == "closed"
    activity, name = (
        (_CLOSE, "Close")
        if closed
        else (_CREATE, "Create")
        if case.history.new
        else (_UPDATE, "Update")
    )
    action = case.inference.action
    shown = case.inference.members[:MOST_RESOURCES]
    left = len(case.inference.members) - len(shown)
    severity, confidence = _SEVERITY[action], _CONFIDENCE[action]
    labels = (f"{left} more accounts in case.json",) if left else ()
    return OcsfFinding(
        metadata=OcsfMetadata(
            product=OcsfProduct(version=version),
            uid=f"{case.case_id}-{int(created_at.timestamp() * 1000)}",
            labels=labels,
        ),
        activity_id=activity,
        activity_name=name,
        type_uid=CLASS_UID * 100 + activity,
        time=int(created_at.timestamp() * 1000),
        severity_id=severity[0],
        severity=severity[1],
        confidence_id=confidence[0],
        confidence=confidence[1],
        status_id=_SUPPRESSED if closed else _NEW,
        status="Suppressed" if closed else "New",
        status_detail=case.history.closed_because,
        message=case.sentence,
        count=int(values["requests"] or 0),
        start_time=first,
        end_time=last,
        finding_info=OcsfFindingInfo(
            uid=case.case_id,
            title=f"Case {case.case_id}: accounts that act together",
            desc=f"{case.sentence} {case.inference.strength} {case.inference.false_says}",
            analytic=OcsfAnalytic(version=version),
            attacks=tuple(_attack(one) for one in case.inference.techniques),
            created_time=_ms(f"{case.history.first_found}T00:00:00+00:00"),
            first_seen_time=first,
            last_seen_time=last,
        ),
        resources=tuple(
            OcsfResource(
                uid=one.account,
                name=one.account,
                labels=(f"strength: {one.strength}", *(f"carries: {f}" for f in one.families)),
            )
            for one in shown
        ),
        evidences=_evidences(case),
        remediation=OcsfRemediation(desc=case.inference.action_says),
    )


def _evidences(case: Case) -> tuple[OcsfEvidence, ...]:
    found = [
        OcsfEvidence(name=one.name, data={"value": one.value, "query": one.query})
        for one in case.facts.totals
    ]
    for group in case.inference.groups:
        for one in group.signals:
            data: dict[str, Value] = {
                "group": group.candidate_id,
                "family": one.family,
                "observed": one.observed,
                "expected": one.expected,
                "null": one.null,
                "log10_e": one.log10_e,
            }
            found.append(OcsfEvidence(name=one.signal, data=data))
    return tuple(found)


def _attack(one: TechniqueNamed) -> OcsfAttack:
    parent, dot, _ = one.uid.rpartition(".") if one.uid.count(".") > 1 else (one.uid, "", "")
    tactic = OcsfName(
        uid=one.tactic_uid,
        name=one.tactic,
        src_url=f"https://atlas.mitre.org/tactics/{one.tactic_uid}",
    )
    named = OcsfName(
        uid=one.uid, name=one.name, src_url=f"https://atlas.mitre.org/techniques/{one.uid}"
    )
    if not dot:
        return OcsfAttack(tactic=tactic, technique=named)
    above = OcsfName(
        uid=parent,
        name=_PARENTS[parent],
        src_url=f"https://atlas.mitre.org/techniques/{parent}",
    )
    return OcsfAttack(tactic=tactic, technique=above, sub_technique=named)


_PARENTS = {
    "AML.T0024": "Exfiltration via AI Inference API",
    "AML.T0008": "Acquire Infrastructure",
}


def _ms(text: str) -> int:
    """Return a moment as milliseconds since 1970."""
    when = datetime.fromisoformat(text)
    return int(when.replace(tzinfo=when.tzinfo or UTC).timestamp() * 1000)
