"""The verdict: what follows from a plan's findings, after everything that was tried.

It is a pure function of the plan, the findings, the logs' heads and the timestamps, so that whoever
verifies a bundle computes it again. Tiers stay apart: *accused* is a claim of the tier proof alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Literal

from pydantic import Field

from potstill.errors import PotstillError
from potstill.stats.multiple import bonferroni_log10, fisher_log10
from potstill.trace import wording
from potstill.trace.finding import Finding, TestName, Tier, TraceRecord
from potstill.trace.kinds import tier_of
from potstill.trace.limits import limits_of
from potstill.trace.marks_in_choices import MarksInChoicesPlanned
from potstill.trace.marks_in_text import MarksInTextPlanned
from potstill.trace.plan import (
    FixedPlan,
    JointTest,
    SuspectFacts,
    TeacherFacts,
    TracePlan,
    Tried,
)
from potstill.trace.spending import e_of_p, times_for
from potstill.trace.timestamps import Stamp
from potstill.trace.twins import TwinsPlanned

VERDICT_FILE = "verdict.json"
PLAN_SUBJECT = "the plan"
ACCUSING: frozenset[TestName] = frozenset(("watermark-text", "watermark-reading", "twins"))
_ORDER: tuple[Tier, ...] = ("proof", "descent", "support")


class Claim(TraceRecord):
    """What one finding claims. `times` is what p was multiplied by, for everything that was tried;
    `log10_p` and `log10_e` are the logarithms after that. `e_from_p`: the test has no e-value of
    its own, and the one given is what p is worth. `limit` says what would have been found.
    """

    test: TestName
    configuration: str
    tier: Tier
    outcome: Literal["found", "not found", "void"]
    times: int = Field(ge=1)
    log10_p: float = Field(le=0)
    log10_e: float
    e_from_p: bool
    sentence: str
    strength: str
    example: str | None = None
    limit: str | None = None


class JointFinding(TraceRecord):
    """Watermark and twins combined by Fisher's method, with what their joint null is."""

    null: str = "the suspect depends neither on the key nor on which answer of several was served"
    log10_p: float = Field(le=0)


class LogFacts(TraceRecord):
    """A raw log: its file, how many records it has, and the digest of its last one."""

    file: str
    records: int = Field(ge=0)
    head: str


class ControlFigure(TraceRecord):
    """The effect of one test on a control, in the unit of the finding beside it."""

    test: TestName
    configuration: str
    name: str
    effect: float
    low: float | None = None
    high: float | None = None


class Verdict(TraceRecord):
    """What a trace comes to: verdict.json."""

    # Aliased, since pydantic has a method of that name.
    form: Literal["potstill/verdict/1"] = Field("potstill/verdict/1", alias="schema")
    created_at: datetime
    potstill: str
    name: str
    plan: str
    planned_at: datetime
    teacher: TeacherFacts
    suspect: SuspectFacts
    alpha: float
    accused: bool
    headline: str
    strength: str
    claims: tuple[Claim, ...]
    joint: JointFinding | None = None
    findings: tuple[Finding, ...]
    controls: tuple[ControlFigure, ...] = ()
    tried: Tried
    tried_before: str
    order_of_events: str
    limits: tuple[str, ...]
    explanations: tuple[str, ...]
    assumptions: tuple[str, ...]
    logs: tuple[LogFacts, ...]
    stamps: tuple[Stamp, ...] = ()


class Custody(TraceRecord):
    """What a verdict rests on beside its findings: when it was made, the logs, the timestamps."""

    created_at: datetime
    potstill: str
    logs: tuple[LogFacts, ...]
    stamps: tuple[Stamp, ...] = ()


def verdict_of(
    fixed: FixedPlan,
    findings: Sequence[Finding],
    custody: Custody,
    controls: Sequence[ControlFigure] = (),
) -> Verdict:
    """Return what the findings of a plan's tests, in its order, come to.

    Raises PotstillError where a finding is none of the plan's.
    """
    plan = fixed.plan
    _require_planned(plan, findings)
    pairs = zip(plan.planned, findings, strict=True)
    claims = tuple(_claim(plan, finding, tier_of(one)) for one, finding in pairs)
    accused = any(_accuses(claim) for claim in claims)
    lead = _lead(claims)
    found = [f for f, claim in zip(findings, claims, strict=True) if claim.outcome == "found"]
    limits = tuple(claim.limit for claim in claims if claim.limit is not None)
    return Verdict(
        created_at=custody.created_at,
        potstill=custody.potstill,
        name=plan.name,
        plan=fixed.digest,
        planned_at=plan.created_at,
        teacher=plan.teacher,
        suspect=plan.suspect,
        alpha=plan.alpha,
        accused=accused,
        headline=_headline(plan, claims),
        strength=lead.strength,
        claims=claims,
        joint=_joint(plan, plan.joint, findings),
        findings=tuple(findings),
        controls=tuple(controls),
        tried=plan.chain.tried,
        tried_before=wording.tried_sentence(plan.chain.tried),
        order_of_events=order_of_events(custody.stamps),
        limits=limits,
        explanations=wording.explanations(found),
        assumptions=wording.assumptions(findings),
        logs=custody.logs,
        stamps=custody.stamps,
    )


def order_of_events(stamps: Sequence[Stamp]) -> str:
    """Return what is known of when things were fixed, and by whom."""
    checked = [stamp for stamp in stamps if stamp.checked]
    seen = [
        f"{stamp.subject} was seen by {stamp.authority} by "
        f"{stamp.time:%Y-%m-%d %H:%M:%S} {stamp.time.tzname()}"
        for stamp in checked
        if stamp.time is not None
    ]
    text = f"{'; '.join(seen)[:1].upper()}{'; '.join(seen)[1:]}. " if seen else ""
    if any(stamp.subject == PLAN_SUBJECT for stamp in checked):
        return f"{text}The raw logs begin from the plan's digest, so that they were made after it."
    unchecked = len(stamps) - len(checked)
    given = " A timestamp is attached, which nobody has checked here." if unchecked else ""
    word = "The order of events is the owner's word: no timestamp of the plan was checked."
    return text + word + given


def _require_planned(plan: TracePlan, findings: Sequence[Finding]) -> None:
    planned = [(one.test, one.configuration) for one in plan.planned]
    found = [(one.test, one.configuration) for one in findings]
    if planned != found:
        raise PotstillError(
            "the findings are not those of the plan's tests, in its order; run the plan again"
        )
    for one, finding in zip(plan.planned, findings, strict=True):
        tier = tier_of(one)
        if _ORDER.index(finding.tier) < _ORDER.index(tier):
            raise PotstillError(
                f"the test {finding.test} claims the tier {finding.tier}, and {tier} is the "
                "strongest that its plan spends alpha on"
            )


def _claim(plan: TracePlan, finding: Finding, tier: Tier) -> Claim:
    times = times_for(plan.count(tier), plan.chain.tried.of(tier))
    log10_p = bonferroni_log10(finding.log10_p, times)
    e_from_p = finding.log10_e is None
    # Divided in full, also where p times as much is 1: the e-values so weighted have a sum whose
    # expectation is at most 1.
    log10_e = e_of_p(log10_p) if finding.log10_e is None else finding.log10_e - math.log10(times)
    found = finding.void is None and 10**log10_p <= plan.alpha
    suspect, teacher = plan.suspect.name, plan.teacher.name
    strength = wording.strength_sentence(log10_p, times, log10_e, sequential=finding.sequential)
    return Claim(
        test=finding.test,
        configuration=finding.configuration,
        tier=finding.tier,
        outcome="void" if finding.void is not None else "found" if found else "not found",
        times=times,
        log10_p=log10_p,
        log10_e=log10_e,
        e_from_p=e_from_p,
        sentence=wording.claim_sentence(finding, suspect, teacher, found=found),
        strength=f"void: {finding.void}" if finding.void is not None else strength,
        # Odds of one model against its controls are no odds of what it learnt.
        example=wording.example_sentence(log10_e) if found and not finding.controls else None,
        limit=None
        if found or finding.void is not None
        else wording.limit_sentence(
            wording.test_name(finding.test, finding.configuration),
            limits_of(plan.limits, finding.test, finding.configuration),
            plan.suspect.parameters,
            finding.n,
        ),
    )


def _accuses(claim: Claim) -> bool:
    return claim.outcome == "found" and claim.tier == "proof" and claim.test in ACCUSING


def _lead(claims: Sequence[Claim]) -> Claim:
    """Return the claim that a reader is told of first: found ones, strongest tier, least p."""
    outcomes = ("found", "not found", "void")
    return min(
        claims,
        key=lambda one: (outcomes.index(one.outcome), _ORDER.index(one.tier), one.log10_p),
    )


def _headline(plan: TracePlan, claims: Sequence[Claim]) -> str:
    lead = _lead(claims)
    suspect, teacher = plan.suspect.name, plan.teacher.name
    derived = next((c for c in claims if c.outcome == "found" and c.tier == "descent"), None)
    if _accuses(lead):
        more = f" Apart from that: {derived.sentence}" if derived is not None else ""
        return lead.sentence + more
    if derived is not None:
        return (
            f"{derived.sentence} Nothing was found that says that {suspect} was trained on outputs "
            f"of {teacher}."
        )
    if all(claim.outcome == "void" for claim in claims):
        return f"Nothing follows of {suspect}: no test of the plan is valid."
    support = f" {lead.sentence}" if lead.outcome == "found" else ""
    return (
        f"Not detected: nothing was found that says that {suspect} was trained on outputs of "
        f"{teacher}. That is no proof that it was not.{support}"
    )


def _joint(
    plan: TracePlan, joint: JointTest | None, findings: Sequence[Finding]
) -> JointFinding | None:
    """Return Fisher's combination where the plan states one that is allowed.

    Raises PotstillError for one that is not: only watermark and twins, both of a fixed n, twins
    drawn under the mark, and the watermark in text mode or read on texts outside the twins' log.
    """
    if joint is None:
        return None
    try:
        mark, twins = findings[joint.watermark], findings[joint.twins]
    except IndexError:
        raise PotstillError("the plan's joint test names a test that it has not") from None
    reading = mark.test == "watermark-reading"
    marked, drawn = plan.tests[joint.watermark], plan.tests[joint.twins]
    allowed = (
        isinstance(marked, MarksInTextPlanned | MarksInChoicesPlanned)
        and isinstance(drawn, TwinsPlanned)
        and drawn.marked_with == marked.mark.scheme
        and (mark.test == "watermark-text" or (reading and joint.read_elsewhere))
        and twins.test == "twins"
        and not (mark.sequential or twins.sequential)
    )
    if not allowed:
        raise PotstillError(
            "the plan's joint test is none that may be combined: only a watermark and twins, both "
            "of a fixed n, twins drawn under the mark, and the watermark in text or read on texts "
            "outside the twins' log"
        )
    if mark.void is not None or twins.void is not None:
        return None
    return JointFinding(log10_p=fisher_log10([mark.log10_p, twins.log10_p]))
