"""A student's terms: decided before anybody is asked, and kept beside the weights that it has."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from potstill.durable import write_bytes
from potstill.models.load import stated_by
from potstill.runs.parts import Parts
from potstill.terms.facts import STRICTNESS, packaged_facts
from potstill.terms.gate import TermsDecision
from potstill.terms.inherited import (
    STUDENT_TERMS_FILE,
    SourceTerms,
    StudentTerms,
    write_student_terms,
)
from potstill.terms.licences import SOURCE_FILE
from potstill.terms.obligations import KeptTerms, kept_terms, require_name, shown_name
from potstill.terms.records import RowTerms
from potstill.terms.use import Role, Use


def require_terms_of_all(parts: Parts) -> None:
    """Raise PotstillError where a student may not come from all that the recipe makes it of.

    That is the teacher, a server that reads, what earlier answers are from, and the weights that
    the student is made from; and its name has to be one that their licences take. Says what an
    authorisation is and is not.
    """
    decisions = decisions_of(parts)
    for decision in decisions:
        decision.require()
        said = None if decision.granted is None else decision.granted.said()
        if said is not None:
            parts.progress.note(f"terms: {said}")
    require_name(parts.recipe.name, decisions)


def decisions_of(parts: Parts) -> list[TermsDecision]:
    """Return the decisions about all that a run's student comes from, the author's first."""
    found = [parts.decision]
    if parts.access.reader is not None:
        found.append(parts.scorer_decision)
    earlier = parts.earlier_decision
    return [*found, *([] if earlier is None else [earlier]), parts.base_decision]


def state_terms(parts: Parts, directory: Path) -> None:
    """Write a student's terms into its directory: what it inherits, and what is owed, in files.

    Terms of all rows that it could learn are inherited, whichever were left out. Says what is left
    to do, unless the same stood there before.
    """
    decisions, rows, facts = decisions_of(parts), rows_of(parts), packaged_facts()
    learnt = [found for row in rows for n in row.licences if (found := facts.entry(n)) is not None]
    kept = kept_terms(parts.recipe.name, decisions, _directories(parts), facts, rows=learnt)
    terms = _terms(parts, decisions, rows, kept)
    path = directory / STUDENT_TERMS_FILE
    same = path.is_file() and path.read_text(encoding="utf-8") == terms.text()
    for place, content in kept.files.items():
        (directory / place).parent.mkdir(parents=True, exist_ok=True)
        write_bytes(directory / place, content)
    _state_licence(parts, terms, directory)
    write_student_terms(directory, terms)
    if not same:
        _say(parts, terms, kept)


def _terms(
    parts: Parts,
    decisions: Sequence[TermsDecision],
    rows: tuple[RowTerms, ...],
    kept: KeptTerms,
) -> StudentTerms:
    """Return all that a student's terms come from, and the strictest outcome of it."""
    student = parts.recipe.student
    outcomes = [one.outcome for one in (*decisions, *rows)]
    named = [name for one in (*decisions, *rows) for name in one.licences]
    return StudentTerms(
        student=parts.recipe.name,
        intent=student.intent,
        kind=student.kind,
        outcome=max(outcomes, key=STRICTNESS.index),
        licences=tuple(dict.fromkeys(named)),
        sources=tuple(_source(parts, decision) for decision in decisions),
        rows=rows,
        owed=kept.owed,
        facts=decisions[0].facts_version,
    )


def rows_of(parts: Parts) -> tuple[RowTerms, ...]:
    """Return the terms of all stored rows that training may learn or choose by, each line once."""
    rows = (*parts.store.outlines("train"), *parts.store.outlines("validation"))
    counted = Counter(row.terms_decision for row in rows)
    return tuple(RowTerms(line=line, rows=count) for line, count in sorted(counted.items()))


def _say(parts: Parts, terms: StudentTerms, kept: KeptTerms) -> None:
    for line in terms.refused:
        parts.progress.note(
            f"terms: the student inherits what its rows were refused for ({line}), whatever was "
            "left out of them"
        )
    left = kept.left(Use(terms.intent, terms.kind))
    if left:
        owed = "; ".join(dict.fromkeys(one.obligation.said for one in left))
        parts.progress.note(f"terms: for you to see to, as its NOTICE lists: {owed}")


def _source(parts: Parts, decision: TermsDecision) -> SourceTerms:
    reads = parts.access.reader is not None and decision is parts.scorer_decision
    role: Role | Literal["reader"] = "reader" if reads else decision.role
    return SourceTerms(
        role=role,
        name=shown_name(decision.teacher),
        outcome=decision.outcome,
        licences=decision.licences,
        reason=decision.reason,
        authorisation=decision.authorisation,
        made_by=decision.made_by,
    )


def _directories(parts: Parts) -> dict[str, Path]:
    """Return the directories of the models whose weights are at hand, by their names."""
    weights = (parts.access.weights, parts.access.parent, parts.access.student)
    found = {who.model: stated_by(who.model, revision=who.revision) for who in weights if who}
    return {name: path for name, path in found.items() if path.is_dir()}


def _state_licence(parts: Parts, terms: StudentTerms, directory: Path) -> None:
    """Write which licence the student's weights came under, where one without conditions holds.

    Anything else is for a person to judge.
    """
    named = parts.base_decision.licences
    if terms.outcome == "allow" and len(named) == 1:
        source = {"made_by": "potstill", "run": parts.recipe.name, "license": named[0]}
        write_bytes(directory / SOURCE_FILE, json.dumps(source, indent=1).encode())
