"""What follows from a case's facts: how strong it is, what is left without a part, what to do."""

from __future__ import annotations

import math
from collections.abc import Sequence

from potstill.stats.evalues import average_log_e
from potstill.text.counts import many
from potstill.watch.case.asking import Asker
from potstill.watch.case.carrying import member_strengths
from potstill.watch.case.facts import agrees, expected_query
from potstill.watch.case.models import (
    Action,
    CaseFacts,
    CaseInference,
    Explanation,
    FamilyLeftOut,
    GroupInference,
    MemberStrength,
    SignalInference,
    TechniqueNamed,
)
from potstill.watch.evidence import Campaign, CampaignsFound, Candidate, Part, SignalFinding
from potstill.watch.judging import log10_written, two_families_log_e
from potstill.watch.schema import Family

_PRIOR = 0.01


def inference_of(
    asker: Asker,
    found: CampaignsFound,
    campaign: Campaign,
    facts: CaseFacts,
    explanations: tuple[Explanation, ...],
) -> CaseInference:
    """Return what follows from a campaign's facts, whose tables are prepared."""
    bound = bound_log10_e(found)
    parties = asker.table("parties", "SELECT account_id, party FROM members").rows
    party_of = {str(account): str(party) for account, party in parties}
    members = member_strengths(facts, campaign, party_of)
    left_out = left_out_of(found, campaign)
    unexplained = tuple(
        family
        for family in campaign.families
        if not any(one.outcome == "may explain" and family in one.covers for one in explanations)
    )
    action = action_of(left_out, unexplained)
    return CaseInference(
        families=campaign.families,
        log10_e=campaign.log10_e,
        strength=strength_words(campaign.log10_e),
        groups=tuple(_group(asker, one, bound) for one in campaign.candidates),
        left_out=left_out,
        members=members,
        explanations=explanations,
        unexplained=unexplained,
        action=action,
        action_says=action_words(action, members),
        next_checks=next_checks(explanations, members, found),
        techniques=techniques_of(campaign),
        false_expected=found.false_expected,
        false_says=false_words(found),
    )


def bound_log10_e(found: CampaignsFound) -> float:
    """Return what an e-value has to reach to be found in this run, by e-BH with as many found."""
    stand = max(1, sum(one.found for one in found.candidates))
    return math.log10(max(1, len(found.candidates)) / (found.level * stand))


def left_out_of(found: CampaignsFound, campaign: Campaign) -> tuple[FamilyLeftOut, ...]:
    """Return the verdict without each family that holds: of the best group, at the run's bound."""
    bound = bound_log10_e(found)
    best = {
        family: max(one.without[family] for one in campaign.candidates if family in one.without)
        for family in campaign.families
    }
    return tuple(
        FamilyLeftOut(family=family, log10_e=log10_e, stands=log10_e >= bound)
        for family, log10_e in best.items()
    )


def _group(asker: Asker, candidate: Candidate, bound: float) -> GroupInference:
    return GroupInference(
        candidate_id=candidate.candidate_id,
        chosen_by=candidate.chosen_by,
        parties=len(candidate.parties),
        carried_by=len(candidate.carried_by),
        log10_e=candidate.log10_e,
        signals=tuple(_signal(asker, candidate, one, bound) for one in candidate.signals),
    )


def _signal(
    asker: Asker, candidate: Candidate, one: SignalFinding, bound: float
) -> SignalInference:
    query = expected_query(candidate.candidate_id, one)
    without = without_signal(candidate, one)
    return SignalInference(
        signal=one.signal,
        part=one.part,
        family=one.family,
        observed=one.observed,
        expected=one.expected,
        null=one.null,
        log10_e=one.log10_e,
        chosen=one.chosen,
        expected_query=query if agrees(asker, query, one.expected) else None,
        without_it=without,
        stands_without_it=without >= bound,
    )


def without_signal(candidate: Candidate, left_out: SignalFinding | None) -> float:
    """Return log10 E of a group with one signal left out, from the signals' e-values as written."""
    parts: dict[Part, list[float]] = {}
    for one in candidate.signals:
        if one is not left_out and one.part is not None and one.log10_e is not None:
            parts.setdefault(one.part, []).append(one.log10_e * math.log(10))
    averages = {part: average_log_e(bets) for part, bets in parts.items()}
    log_e = two_families_log_e(candidate.chosen_by, averages)
    return log10_written(log_e)


def action_of(left_out: Sequence[FamilyLeftOut], unexplained: Sequence[Family]) -> Action:
    """Return how far one may go: no further than the evidence that nothing else may explain."""
    if len(unexplained) < 2:
        return "look"
    return "limit" if left_out and all(one.stands for one in left_out) else "ask"


def action_words(action: Action, members: Sequence[MemberStrength]) -> str:
    """Return an action in words."""
    strong = sum(one.strength == "strong" for one in members)
    who = f"{many(strong, 'account')} that carry what holds in two families"
    if action != "look" and not strong:
        return (
            "Look at each account by itself before anything is done: none carries what holds in "
            "two of the families."
        )
    if action == "look":
        return (
            "Do nothing to any account: fewer than two families of evidence are left once what may "
            "explain the rest is taken away. Check these explanations first."
        )
    if action == "ask":
        return (
            f"Have the {who} confirm who they are and what they do, and limit nobody: the case "
            "falls without one of its families."
        )
    return (
        f"Slow down the {who}, and none of the others, until a person has read this page and heard "
        "them; the case stands whichever family is left out. Cut nobody off by this page alone."
    )


def next_checks(
    explanations: Sequence[Explanation],
    members: Sequence[MemberStrength],
    found: CampaignsFound,
) -> tuple[str, ...]:
    """Return what to check next, most pressing first."""
    checks = [
        f"Check whether this is {one.name}: {one.because}."
        for one in explanations
        if one.outcome == "may explain"
    ]
    weak = sum(one.strength == "weak" for one in members)
    if weak:
        checks.append(
            f"Look at the {many(weak, 'account')} that carry by themselves nothing of what holds: "
            "they are named with their group alone, and may be strangers."
        )
    checks += [
        f"{one.name[0].upper()}{one.name[1:]} could not be tested: {one.because}."
        for one in explanations
        if one.outcome == "not tested"
    ]
    if len(found.days) < 7:
        checks.append(f"Look again with more days: the store holds {many(len(found.days), 'day')}.")
    checks.append("Ask who sold to these accounts whether they are one customer's.")
    return tuple(checks)


def strength_words(log10_e: float) -> str:
    """Return what an e-value says and does not say, with an example."""
    odds = 10 ** min(log10_e, 300.0) * _PRIOR / (1 - _PRIOR)
    after = odds / (1 + odds)
    ends = f"{100 * after:.2g}%" if after < 0.995 else "more than 99%"
    return (
        f"e = {e_words(log10_e)} against groups of strangers. It is no probability of guilt: it "
        "tells how surely these accounts are not strangers to one another, and not why. Example: "
        f"whoever held that to be {_PRIOR:.0%} likely before ends at {ends}."
    )


def e_words(log10_e: float) -> str:
    """Return an e-value of any size: 0.5, 42, 10^12.3."""
    return f"{10**log10_e:.3g}" if -3 < log10_e < 4 else f"10^{log10_e:.1f}"


def false_words(found: CampaignsFound) -> str:
    """Return how many cases of a run may be false, in words."""
    return (
        f"Of the {many(len(found.campaigns), 'campaign')} of this run at most "
        f"{found.false_expected:.2g} are expected to be false (a false discovery rate of "
        f"{found.level:g}). That counts groups of strangers; people whom something innocent joins "
        "are not counted, and have to be looked for."
    )


_EXTRACT = ("AML.T0024.002", "Extract AI Model", "AML.TA0010", "Exfiltration")
_ACCESS = ("AML.T0040", "AI Model Inference API Access", "AML.TA0000", "AI Model Access")
_PROXIES = ("AML.T0008.005", "AI Service Proxies", "AML.TA0003", "Resource Development")
_ACCOUNTS = ("AML.T0021", "Establish Accounts", "AML.TA0003", "Resource Development")


def techniques_of(campaign: Campaign) -> tuple[TechniqueNamed, ...]:
    """Return the techniques of MITRE ATLAS (5.5) that a campaign would be an instance of."""
    held = {
        one.signal: one
        for candidate in campaign.candidates
        for one in candidate.signals
        if one.log10_e is not None and one.log10_e > 0
    }
    named = [
        (_EXTRACT, "accounts that act together take many answers"),
        (_ACCESS, "all of it goes through the service's interface"),
    ]
    relay = held.get("shared client address")
    if relay is not None and relay.part == "means":
        named.append((_PROXIES, "accounts of several time zones ask through one network"))
    if "infrastructure" in campaign.families:
        named.append((_ACCOUNTS, "accounts have payment, device or network in common"))
    return tuple(
        TechniqueNamed(uid=uid, name=name, tactic_uid=tactic_uid, tactic=tactic, because=because)
        for (uid, name, tactic_uid, tactic), because in named
    )
