"""A decision explained: each document with its dates, what is owed, and what would change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from potstill.terms.facts import Licence
from potstill.terms.gate import TermsDecision
from potstill.terms.obligations import owed_by
from potstill.terms.use import INTENTS, KINDS, Use

NO_ADVICE = (
    "These are facts that potstill knows of, not legal advice; read the document itself before you "
    "rely on it."
)
CONFIDENCE = {
    "P": "the document itself was read",
    "S": "quoted by a dated secondary source",
    "U": "unverified, and so permits nothing",
}
_WORDS = {
    "allow": "allowed",
    "conditions": "allowed under conditions",
    "unknown": "not known, and so not allowed without an authorisation",
    "deny": "not allowed without an authorisation",
}


@dataclass(frozen=True)
class ExplainedDocument:
    """One document that was weighed: what it says, where it was named, from when, how sure."""

    id: str
    outcome: str
    document: str
    surface: str
    says: str
    also: str | None
    effective: str
    checked: str
    confidence: str
    recheck: str


@dataclass(frozen=True)
class ExplainedTerms:
    """A decision in words: the answer, its documents, what is owed, and other uses' answers."""

    subject: str
    use: str
    outcome: str
    permitted: bool
    reason: str
    documents: tuple[ExplainedDocument, ...]
    statements: tuple[str, ...]
    owed: tuple[str, ...]
    otherwise: tuple[str, ...]
    authorisation: str | None
    facts: str
    notice: str = NO_ADVICE

    def lines(self) -> list[str]:
        """Return the explanation as lines of text; it says once that it is no legal advice."""
        found = [f"{self.subject}, for {self.use}: {_WORDS[self.outcome]}", f"  why: {self.reason}"]
        found += [f"  stated: {line}" for line in self.statements]
        for document in self.documents:
            found += ["", *_document_lines(document)]
        groups = (("to be kept:", self.owed), ("for other students:", self.otherwise))
        for head, lines in groups:
            found += ["", head, *(f"  - {line}" for line in lines)] if lines else []
        if self.authorisation is not None:
            found += ["", f"authorisation: {self.authorisation}"]
        return [*found, "", f"{self.notice} (facts {self.facts})"]


def explanation(decision: TermsDecision, day: date) -> ExplainedTerms:
    """Return a decision explained as of a day."""
    return ExplainedTerms(
        subject=decision.teacher,
        use=str(decision.use),
        outcome=decision.outcome,
        permitted=decision.permitted,
        reason=decision.reason,
        documents=tuple(_document(one, decision, day) for one in decision.entries),
        statements=tuple(f"{e.stated}, by {e.where}" for e in decision.evidence),
        owed=tuple(_owed(decision)),
        otherwise=tuple(_otherwise(decision.entries, decision, day)),
        authorisation=None if decision.granted is None else decision.granted.said(),
        facts=decision.facts_version,
    )


def _document(entry: Licence, decision: TermsDecision, day: date) -> ExplainedDocument:
    recheck = entry.recheck_after
    return ExplainedDocument(
        id=entry.id,
        outcome=entry.outcome(day, decision.use, decision.role),
        document=entry.source,
        surface=str(getattr(entry, "surface", "weights")),
        says=entry.said(decision.use, decision.role),
        also=entry.also,
        effective=entry.effective or "not known",
        checked=entry.checked or "not known",
        confidence=f"{entry.confidence}: {CONFIDENCE[entry.confidence]}",
        recheck="its text cannot change" if recheck is None else _until(recheck, day),
    )


def _until(recheck: date, day: date) -> str:
    if day > recheck:
        return f"out of date since {recheck.isoformat()}, and so permits nothing"
    return f"to be read again by {recheck.isoformat()}"


def _document_lines(document: ExplainedDocument) -> list[str]:
    lines = [
        f"{document.id} ({document.surface}): {_WORDS[document.outcome]}",
        f"  document:   {document.document}",
        f"  says:       {document.says}",
        f"  effective:  {document.effective}",
        f"  checked:    {document.checked}; {document.recheck}",
        f"  confidence: {document.confidence}",
    ]
    return [*lines, *([f"  also:       {document.also}"] if document.also else [])]


def _owed(decision: TermsDecision) -> list[str]:
    return [
        f"{one.obligation.said} ({one.licence.id}; intents {', '.join(one.obligation.intents)})"
        for one in owed_by([decision])
    ]


def _otherwise(entries: Sequence[Licence], decision: TermsDecision, day: date) -> list[str]:
    """Return the outcome for each other kind of student and intent, where it is another one."""
    found = []
    for kind in KINDS:
        for intent in INTENTS:
            use = Use(intent, kind)
            outcomes = {entry.id: entry.outcome(day, use, decision.role) for entry in entries}
            known = {entry.id: entry.outcome(day, decision.use, decision.role) for entry in entries}
            if outcomes != known and use != decision.use:
                words = ", ".join(f"{name} {outcome}" for name, outcome in outcomes.items())
                found.append(f"{use}: {words}")
    return found
