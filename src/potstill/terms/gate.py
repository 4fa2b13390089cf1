"""The gate: may this teacher's outputs train a student? Asked before any teacher call.

Every statement of the licence counts and the strictest one decides. What is not known is not
permitted, until the user names an authorisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from blake3 import blake3

from potstill.durable import no_file
from potstill.errors import PotstillError
from potstill.terms.facts import STRICTNESS, TermsFacts, TermsOutcome, packaged_facts
from potstill.terms.licences import Evidence


@dataclass(frozen=True)
class Stated:
    """What a user states of permission: a file in which the rights holder gives it, if any.

    `setting` is what the user calls it, for sentences.
    """

    authorisation: str | None = None
    setting: str = "authorisation"


@dataclass(frozen=True)
class TermsDecision:
    """Whether and on what grounds a teacher may be distilled.

    `outcome` is what the licence says; `authorisation` is the digest (`blake3:...`) of the
    permission that the user names, which outranks it; `setting` is where one is named.
    `conditions` are for the user to keep.
    """

    teacher: str
    outcome: TermsOutcome
    licences: tuple[str, ...]
    evidence: tuple[Evidence, ...]
    conditions: tuple[str, ...]
    reason: str
    facts_version: str
    authorisation: str | None = None
    setting: str = Stated.setting

    @property
    def permitted(self) -> bool:
        """Whether the outputs may be used."""
        return self.outcome in ("allow", "conditions") or self.authorisation is not None

    def require(self) -> TermsDecision:
        """Return the decision where it permits the teacher, else raise PotstillError."""
        if self.permitted:
            return self
        raise PotstillError(
            f"the teacher {self.teacher} may not be distilled yet: {self.reason}; if its rights "
            "holder permits it, save the permission as a text file and name it with "
            f"{self.setting}, or choose another teacher"
        )

    def record(self) -> str:
        """Return the one line that is stored with every exchange."""
        parts = [f"{self.outcome}: {', '.join(self.licences) or 'no licence stated'}"]
        parts.append(f"facts {self.facts_version}")
        if self.authorisation is not None:
            parts.append(f"authorisation {self.authorisation}")
        return "; ".join(parts)

    def facts(self) -> dict[str, object]:
        """Return the decision as JSON values, for the manifest and the report."""
        return {
            "outcome": self.outcome,
            "permitted": self.permitted,
            "licences": list(self.licences),
            "stated": [f"{e.stated} ({e.where})" for e in self.evidence],
            "conditions": list(self.conditions),
            "reason": self.reason,
            "facts_version": self.facts_version,
            "authorisation": self.authorisation,
        }


def decide(
    teacher: str,
    evidence: Sequence[Evidence],
    stated: Stated,
    *,
    today: date | None = None,
    facts: TermsFacts | None = None,
) -> TermsDecision:
    """Return the decision about a teacher from what `licence_of` found in its files, or
    `evidence_of_endpoint` in its address and name.

    Raises PotstillError where an authorisation is stated that cannot be read. Call
    `require` on the result before the teacher is asked anything.
    """
    facts = facts or packaged_facts()
    today = today or datetime.now(UTC).date()
    known = [found for e in evidence if e.licence and (found := facts.entry(e.licence))]
    outcomes: list[TermsOutcome] = [licence.outcome(today) for licence in known]
    strangers = [e for e in evidence if e.licence is None]
    if strangers or not known:
        outcomes.append("unknown")
    outcome = max(outcomes, key=STRICTNESS.index)
    unique = list({licence.id: licence for licence in known}.values())
    names = [licence.id for licence in unique] + [e.stated for e in strangers]
    return TermsDecision(
        teacher=teacher,
        outcome=outcome,
        licences=tuple(dict.fromkeys(names)),
        evidence=tuple(evidence),
        conditions=tuple(dict.fromkeys(licence.conditions for licence in unique)),
        reason=_reason(outcome, evidence, facts, today),
        facts_version=facts.version,
        authorisation=_authorisation(stated),
        setting=stated.setting,
    )


def stricter(one: TermsDecision, other: TermsDecision) -> TermsDecision:
    """Return the one of two decisions that permits less."""
    return max(one, other, key=lambda decision: STRICTNESS.index(decision.outcome))


def own_answers(named: str) -> TermsDecision:
    """Return the decision about answers that come with the user's own rows: no model is asked."""
    return TermsDecision(
        teacher=named,
        outcome="allow",
        licences=("own data",),
        evidence=(),
        conditions=(),
        reason="the recipe says that its rows hold the answers; no model was asked for them",
        facts_version=packaged_facts().version,
    )


def _reason(
    outcome: TermsOutcome, evidence: Sequence[Evidence], facts: TermsFacts, today: date
) -> str:
    """Return why: the statements that weigh most, each with its place."""
    if not evidence:
        return "its files state no licence"
    parts = []
    for item in evidence:
        licence = facts.entry(item.licence) if item.licence else None
        verdict = licence.outcome(today) if licence else "unknown"
        if verdict != outcome:
            continue
        place = f"{item.where} states {item.stated}"
        if licence is None:
            parts.append(f"{place}, which potstill has no facts on")
        elif verdict != licence.decision:
            parts.append(f"{place}, on which potstill's facts are unverified or out of date")
        else:
            parts.append(f"{place} ({licence.conditions.rstrip('.')})")
    return "; ".join(dict.fromkeys(parts))


def _authorisation(stated: Stated) -> str | None:
    path = stated.authorisation
    if path is None:
        return None
    try:
        content = Path(path).expanduser().read_bytes()
    except OSError as error:
        raise PotstillError(
            f"the authorisation {path} {no_file(Path(path).expanduser()) or 'cannot be read'}; "
            f"check {stated.setting}"
        ) from error
    if not content.strip():
        raise PotstillError(
            f"the authorisation {path} is empty; put the rights holder's permission into it"
        )
    return f"blake3:{blake3(content).hexdigest()}"
