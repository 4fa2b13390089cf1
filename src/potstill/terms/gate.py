"""The gate: may this teacher's outputs train a student? Asked before any teacher call.

Every statement of the licence counts and the strictest one decides; statements that contradict one
another are unknown. What is not known is not permitted, until the user names an authorisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from secrets import token_bytes
from typing import Literal

from blake3 import blake3

from potstill.errors import PotstillError
from potstill.terms.authorisation import Authorisation, read_authorisation, require_fitting
from potstill.terms.facts import STRICTNESS, Licence, TermsFacts, TermsOutcome, packaged_facts
from potstill.terms.reasons import contradictions, reason_of, unexplained
from potstill.terms.records import BY_CALLER, BY_HANDED_IN, OWN_DATA, OWN_WEIGHTS, line_of
from potstill.terms.statements import Evidence
from potstill.terms.use import Role, Use

# A decision that this process' gate made bears a seal, which no copy with other contents has.
_SEAL_KEY = token_bytes(32)
_REFUSED = {
    "teacher": ("the teacher {} may not be distilled yet", "teacher"),
    "base": ("the student's base {} may not be trained further yet", "base"),
    "rows": ("the answers of {} may not be learnt from yet", "source of answers"),
}


@dataclass(frozen=True)
class Stated:
    """What a user states of permission: a file in which the rights holder gives it, if any.

    `setting` is what the user calls it, for sentences. `use` is what the student is for.
    """

    authorisation: str | None = None
    setting: str = "authorisation"
    use: Use = Use()


@dataclass(frozen=True)
class TermsDecision:
    """Whether and on what grounds a teacher may be distilled.

    `outcome` is what the licence says; `authorisation` is the digest (`blake3:...`) of the
    permission that the user names, which outranks it; `setting` is where one is named.
    `conditions` are for the user to keep. `role` tells whether it is about outputs, about the
    weights that a student is made from, or about rows that hold their answers.
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
    role: Role = "teacher"
    use: Use = Use()
    granted: Authorisation | None = None
    entries: tuple[Licence, ...] = field(default=(), repr=False)
    day: date | None = None
    _seal: bytes = field(default=b"", repr=False, compare=False)

    @property
    def permitted(self) -> bool:
        """Whether the outputs may be used."""
        return self.outcome in ("allow", "conditions") or self.authorisation is not None

    @property
    def made_by(self) -> Literal["gate", "caller"]:
        """Who made the decision: the gate, or whoever called a function with one of their own."""
        return "gate" if self._seal == _seal_of(self) else "caller"

    def require(self, *, asks: bool = False) -> TermsDecision:
        """Return the decision where it permits the teacher, else raise PotstillError.

        With `asks` it has to be one about a model that is asked.
        """
        if asks and self.role != "teacher":
            raise PotstillError(
                f"the decision about {self.teacher} is about {_about(self.role)}, and does not "
                "permit asking a teacher; hand in what potstill.terms.decide says of the teacher"
            )
        if self.permitted:
            return self
        said, instead = _REFUSED[self.role]
        if not self.evidence and self.role == "base":
            instead = "base; or state its licence in student.licence, where you know it"
        raise PotstillError(
            f"{said.format(self.teacher)}: {self.reason}; if its rights "
            "holder permits it, save the permission as a text file and name it with "
            f"{self.setting}, or choose another {instead}"
        )

    def record(self) -> str:
        """Return the one line that is stored with every exchange."""
        more = [] if self.authorisation is None else [f"authorisation {self.authorisation}"]
        if self.made_by == "caller":
            more.append(BY_CALLER)
        elif not all(e.read for e in self.evidence):
            more.append(BY_HANDED_IN)
        return line_of(self.outcome, self.licences, self.facts_version, more)

    def facts(self) -> dict[str, object]:
        """Return the decision as JSON values, for the manifest and the report."""
        handed_in = "" if all(e.read for e in self.evidence) else ", by evidence handed in"
        return {
            "outcome": self.outcome,
            "permitted": self.permitted,
            "made_by": f"{self.made_by}{handed_in}",
            "use": str(self.use),
            "licences": list(self.licences),
            "stated": [f"{e.stated} ({e.where})" for e in self.evidence],
            "conditions": list(self.conditions),
            "reason": self.reason,
            "facts_version": self.facts_version,
            "authorisation": self.authorisation,
            **({} if self.granted is None else {"granted": self.granted.record()}),
        }


def decide(
    teacher: str,
    evidence: Sequence[Evidence],
    stated: Stated,
    *,
    role: Role = "teacher",
    today: date | None = None,
    facts: TermsFacts | None = None,
) -> TermsDecision:
    """Return the decision about a teacher from what `licence_of` found in its files, or
    `evidence_of_endpoint` in its address and name.

    With the role `base` it is about training its weights further. Raises PotstillError where an
    authorisation is stated that cannot be read, has ended, or is for something else. Call
    `require` on the result before the teacher is asked anything.
    """
    facts = facts or packaged_facts()
    today = today or datetime.now(UTC).date()
    known = [found for e in evidence if e.licence and (found := facts.entry(e.licence))]
    outcomes: list[TermsOutcome] = [one.outcome(today, stated.use, role) for one in known]
    strangers = unexplained(evidence, known)
    if strangers or not known or contradictions(evidence):
        outcomes.append("unknown")
    outcome = max(outcomes, key=STRICTNESS.index)
    unique = list({licence.id: licence for licence in known}.values())
    names = [licence.id for licence in unique] + [e.stated for e in strangers]
    granted = _granted(stated, teacher, evidence, unique, today)
    return _sealed(
        TermsDecision(
            teacher=teacher,
            outcome=outcome,
            licences=tuple(dict.fromkeys(names)),
            evidence=tuple(evidence),
            conditions=tuple(dict.fromkeys(one.said(stated.use, role) for one in unique)),
            reason=reason_of(outcome, evidence, facts, today, stated.use, role),
            facts_version=facts.version,
            authorisation=None if granted is None else granted.digest,
            setting=stated.setting,
            role=role,
            use=stated.use,
            granted=granted,
            entries=tuple(unique),
            day=today,
        )
    )


def stricter(one: TermsDecision, other: TermsDecision) -> TermsDecision:
    """Return the one of two decisions that permits less."""
    return max(one, other, key=lambda decision: STRICTNESS.index(decision.outcome))


def own_answers(named: str) -> TermsDecision:
    """Return the decision about answers that come with the user's own rows: no model is asked."""
    return _sealed(
        TermsDecision(
            teacher=named,
            outcome="allow",
            licences=(OWN_DATA,),
            evidence=(),
            conditions=(),
            reason="the recipe says that its rows hold the answers; no model was asked for them",
            facts_version=packaged_facts().version,
            role="rows",
        )
    )


def own_weights(named: str, use: Use) -> TermsDecision:
    """Return the decision about weights that the user says are their own, to train further."""
    return _sealed(
        TermsDecision(
            teacher=named,
            outcome="allow",
            licences=(OWN_WEIGHTS,),
            evidence=(),
            conditions=(),
            reason="the recipe says that these weights are the user's own",
            facts_version=packaged_facts().version,
            role="base",
            use=use,
        )
    )


def _granted(
    stated: Stated,
    teacher: str,
    evidence: Sequence[Evidence],
    known: Sequence[Licence],
    today: date,
) -> Authorisation | None:
    """Return the authorisation that the user names; raises PotstillError where it does not fit."""
    path = stated.authorisation
    if path is None:
        return None
    read = read_authorisation(path, stated.setting)
    ids = [name for one in known for name in (one.id, *one.aliases)]
    providers = [str(name) for one in known if (name := getattr(one, "provider", None))]
    places = [e.where for e in evidence if e.about == "service"]
    last = teacher.rstrip("/").rpartition("/")[2]
    names = (teacher, last, *ids, *providers, *places, *(e.stated for e in evidence))
    require_fitting(read, path, names, stated.use, today)
    return read


def _about(role: Role) -> str:
    return "rows that hold their answers" if role == "rows" else "weights to train"


def _sealed(decision: TermsDecision) -> TermsDecision:
    """Return the decision as this process' gate made it."""
    object.__setattr__(decision, "_seal", _seal_of(decision))
    return decision


def _seal_of(decision: TermsDecision) -> bytes:
    content = [getattr(decision, name) for name in _CONTENT]
    return blake3(repr(content).encode(errors="replace"), key=_SEAL_KEY).digest()


_CONTENT = tuple(
    name for name in TermsDecision.__dataclass_fields__ if name not in ("_seal", "entries")
)
