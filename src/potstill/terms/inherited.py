"""What a student inherits, kept in two places beside its weights, and read where it is a teacher.

`student-terms.json` holds all of it. `config.json` holds the licences and the digest of the former,
so that neither is changed without the other, and tuning with transformers carries it on.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from potstill.canonical import digest_of
from potstill.durable import write_bytes
from potstill.terms.facts import Obligation, TermsFacts, TermsOutcome
from potstill.terms.records import NO_LICENCE, OWN_DATA, OWN_WEIGHTS, RowTerms
from potstill.terms.statements import Evidence, found
from potstill.terms.texts import text_of
from potstill.terms.use import Intent, Role, StudentKind

STUDENT_TERMS_FILE = "student-terms.json"
STAMP = "potstill_terms"


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class SourceTerms(_Kept):
    """What was decided about one model that a student comes from."""

    role: Role | Literal["reader"]
    name: str
    outcome: TermsOutcome
    licences: tuple[str, ...]
    reason: str
    authorisation: str | None
    made_by: Literal["gate", "caller"]


class OwedTerms(_Kept):
    """An obligation, the licence that it comes from, and the file that keeps it, if one does."""

    obligation: Obligation
    licence: str
    model: str
    kept_in: str | None


class StudentTerms(_Kept):
    """All that a student's terms come from; `rows` are those of all rows that it could learn.

    Rows that were left out later are among them.
    """

    version: Literal["potstill/student-terms/1"] = "potstill/student-terms/1"
    student: str
    intent: Intent | None
    kind: StudentKind
    outcome: TermsOutcome
    licences: tuple[str, ...]
    sources: tuple[SourceTerms, ...]
    rows: tuple[RowTerms, ...]
    owed: tuple[OwedTerms, ...]
    facts: str
    note: str = "Facts that potstill knows, and no legal advice."

    @property
    def refused(self) -> tuple[str, ...]:
        """The lines of rows whose terms permitted nothing."""
        return tuple(row.line for row in self.rows if row.refused)

    @property
    def inherited(self) -> tuple[str, ...]:
        """The licences that pass on to whoever learns from the student, each once."""
        named = [n for n in self.licences if n not in (OWN_DATA, OWN_WEIGHTS, NO_LICENCE)]
        # Refused rows name none where nothing was stated.
        named += ["rows whose terms were refused"] if self.refused else []
        named += ["terms that nobody stated"] if NO_LICENCE in self.licences else []
        return tuple(dict.fromkeys(named))

    def text(self) -> str:
        """Return the file's text."""
        values = self.model_dump(mode="json")
        return json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True) + "\n"

    def stamp(self) -> dict[str, Any]:
        """Return what config.json holds of it."""
        return {"licences": list(self.inherited), "digest": digest_of(self.model_dump(mode="json"))}


def evidence_of_student(model: Path, facts: TermsFacts) -> list[Evidence]:
    """Return what a student's own record of terms states; nothing where there is none."""
    stamp, text = _stamp(model), text_of(model / STUDENT_TERMS_FILE)
    evidence = []
    if stamp is not None:
        named = stamp.get("licences") if isinstance(stamp, dict) else None
        names = named if isinstance(named, list) else ["terms that cannot be read"]
        evidence += _inherited([str(name) for name in names], "config.json", facts)
    if not text and not (model / STUDENT_TERMS_FILE).is_file():
        return evidence
    kept = _read(text)
    if kept is None:
        return [*evidence, found("terms that cannot be read", STUDENT_TERMS_FILE, None)]
    evidence += _inherited(kept.inherited, STUDENT_TERMS_FILE, facts)
    if not isinstance(stamp, dict) or stamp.get("digest") != digest_of(json.loads(text)):
        said = "other terms than those that config.json was given with it"
        evidence.append(found(said, STUDENT_TERMS_FILE, None))
    return evidence


def kept_names(model: Path) -> frozenset[str]:
    """Return the names, without folders, of the models that a student's record accounts for."""
    kept = _read(text_of(model / STUDENT_TERMS_FILE))
    return frozenset() if kept is None else frozenset(last_part(s.name) for s in kept.sources)


def last_part(name: str) -> str:
    """Return a model's name without its folders or its owner."""
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2]


def write_student_terms(directory: Path, terms: StudentTerms) -> None:
    """Write a student's terms into its directory, and into its config.json."""
    write_bytes(directory / STUDENT_TERMS_FILE, terms.text().encode())
    path = directory / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    stamped = {**config, STAMP: terms.stamp()}
    text = json.dumps(stamped, indent=2, sort_keys=True, ensure_ascii=False)
    write_bytes(path, f"{text}\n".encode())


def _inherited(names: tuple[str, ...] | list[str], where: str, facts: TermsFacts) -> list[Evidence]:
    known = {name: facts.entry(name) for name in names}
    return [found(n, where, None if e is None else e.id) for n, e in known.items()]


def _stamp(model: Path) -> Any:
    try:
        config = json.loads(text_of(model / "config.json") or "{}")
    except (ValueError, RecursionError):
        return None
    if not isinstance(config, dict) or STAMP not in config:
        return None
    # A stamp of nothing is one that somebody has emptied.
    return config[STAMP] or {}


def _read(text: str) -> StudentTerms | None:
    try:
        return StudentTerms.model_validate_json(text)
    except (ValidationError, ValueError, RecursionError):
        return None
