"""Why: which statements decide, which no licence explains, and which contradict one another."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from itertools import combinations

from potstill.terms.facts import Licence, TermsFacts, TermsOutcome
from potstill.terms.statements import Evidence
from potstill.terms.texts import is_licence
from potstill.terms.use import Role, Use

_LICENCE_FILES = "licence files"


def unexplained(evidence: Sequence[Evidence], known: Sequence[Licence]) -> list[Evidence]:
    """Return the statements that the facts do not know.

    A policy of use is known where it belongs to a licence that is stated.
    """
    expected = any(licence.policy for licence in known)
    return [e for e in evidence if e.licence is None and not (e.about == "policy" and expected)]


def contradictions(evidence: Sequence[Evidence]) -> list[tuple[Evidence, Evidence]]:
    """Return pairs of statements about a model itself, in two places, that share no licence.

    A model's bases have licences of their own, and contradict nothing.
    """
    by_place: dict[str, list[Evidence]] = defaultdict(list)
    for item in evidence:
        if item.about == "model" and item.licence is not None:
            # Several licence files are one statement: they are mostly those of one choice.
            by_place[_LICENCE_FILES if is_licence(item.where) else item.where].append(item)
    found = []
    for one, other in combinations(by_place.values(), 2):
        here, there = ({name for e in some for name in e.ids} for some in (one, other))
        if not here & there:
            found.append((one[0], other[0]))
    return found


def reason_of(
    outcome: TermsOutcome,
    evidence: Sequence[Evidence],
    facts: TermsFacts,
    today: date,
    use: Use,
    role: Role,
) -> str:
    """Return why: the statements that weigh most, each with its place."""
    if not evidence:
        return "its files state no licence"
    known = [found for e in evidence if e.licence and (found := facts.entry(e.licence))]
    strangers = unexplained(evidence, known)
    parts = []
    for item in evidence:
        licence = facts.entry(item.licence) if item.licence else None
        if licence is None and item not in strangers:
            continue
        verdict = licence.outcome(today, use, role) if licence else "unknown"
        if verdict == outcome:
            parts.append(_part(item, licence, today, use, role))
    if outcome == "unknown":
        parts += [
            f"{_place(one)} and {_place(other)}, which contradict each other"
            for one, other in contradictions(evidence)
        ]
    return "; ".join(dict.fromkeys(parts))


def _part(item: Evidence, licence: Licence | None, today: date, use: Use, role: Role) -> str:
    place = _place(item)
    if licence is None:
        return f"{place}, which potstill has no facts on"
    doubt = licence.doubt(today)
    if doubt is not None and licence.outcome(today, use, role) != "deny":
        return f"{place}, on which potstill's facts are {doubt}"
    judged = f"; judged for {use}" if licence.cases and role == "teacher" else ""
    return f"{place} ({licence.said(use, role).rstrip('.')}{judged})"


def _place(item: Evidence) -> str:
    if item.about == "base":
        return f"{item.where} states that it is {item.stated}"
    if item.about == "policy":
        return f"{item.where} is {item.stated} beside the licence"
    return f"{item.where} states {item.stated}"
