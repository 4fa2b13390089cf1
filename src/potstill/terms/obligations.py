"""What is owed under a student's terms, kept in files beside it: notices, licences, terms.

What no file can keep is named as what is left to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from potstill.errors import PotstillError
from potstill.terms.facts import Licence, Obligation, TermsFacts, packaged_facts
from potstill.terms.gate import TermsDecision
from potstill.terms.inherited import OwedTerms
from potstill.terms.texts import licence_files, notice_files, policy_files, recognised
from potstill.terms.use import Use

NOTICE_FILE = "NOTICE"
PASS_ON_FILE = "TERMS-TO-PASS-ON.md"
LICENCES_FOLDER = "LICENSES"
# Texts that may be copied whole, and name no holder.
_SHIPPED = ("apache-2.0",)
_NO_ADVICE = "These are facts that potstill knows, and no legal advice."


@dataclass(frozen=True)
class Owing:
    """An obligation of a student, the licence that it comes from, and the model under that."""

    obligation: Obligation
    licence: Licence
    model: str


@dataclass(frozen=True)
class KeptTerms:
    """Files by their place in the student's directory, and what is owed, kept or left to do."""

    files: Mapping[str, bytes]
    owed: tuple[OwedTerms, ...]

    def left(self, use: Use) -> tuple[OwedTerms, ...]:
        """Return what no file keeps, of what is owed for a use."""
        return tuple(
            one
            for one in self.owed
            if one.kept_in is None and set(one.obligation.intents) & set(use.intents)
        )


def owed_by(decisions: Sequence[TermsDecision], rows: Iterable[Licence] = ()) -> tuple[Owing, ...]:
    """Return what a student owes by the decisions about all that it comes from, each once.

    `rows` are the licences that rows of its were stored under.
    """
    found: dict[tuple[Obligation, str], Owing] = {}
    for decision in decisions:
        for licence in decision.entries:
            for obligation in licence.owed(decision.use, decision.role):
                owing = Owing(obligation, licence, shown_name(decision.teacher))
                found.setdefault((obligation, licence.id), owing)
    for licence in rows:
        for obligation in licence.owed(decisions[0].use):
            found.setdefault((obligation, licence.id), Owing(obligation, licence, "stored rows"))
    return tuple(found.values())


def require_name(name: str, decisions: Sequence[TermsDecision]) -> None:
    """Raise PotstillError where a student's name is not what a licence has it be."""
    for owing in owed_by(decisions):
        use, wanted = decisions[0].use, owing.obligation.text
        applies = set(owing.obligation.intents) & set(use.intents)
        if owing.obligation.kind == "name-prefix" and applies and not name.startswith(wanted):
            raise PotstillError(
                f"the student's name {name} has to begin with {wanted}: the licence of "
                f"{owing.model} ({owing.licence.id}) asks that of a student that is distributed; "
                "change name in the recipe, or set student.intent to internal where it is not"
            )


def kept_terms(
    name: str,
    decisions: Sequence[TermsDecision],
    directories: Mapping[str, Path],
    facts: TermsFacts | None = None,
    *,
    rows: Iterable[Licence] = (),
) -> KeptTerms:
    """Return the files that keep what a student owes, and what is left to do.

    `directories` are those of the models that it comes from, by the names in the decisions:
    licences, notices and policies are copied from there. `rows` are the licences of stored rows.
    """
    facts = facts or packaged_facts()
    folders = list(dict.fromkeys(directories.values()))
    files: dict[str, bytes] = {}
    owed = []
    for owing in owed_by(decisions, rows):
        kept_in, more = _kept(owing, name, folders, facts)
        files.update(more)
        owed.append(
            OwedTerms(
                obligation=owing.obligation,
                licence=owing.licence.id,
                model=owing.model,
                kept_in=kept_in,
            )
        )
    passed_on = [one for one in owed if one.obligation.kind == "flow-down"]
    if passed_on:
        files[PASS_ON_FILE] = _pass_on(name, passed_on, sorted(files)).encode()
    notices = [text for folder in folders for text in _notices(folder)]
    files[NOTICE_FILE] = _notice(name, decisions, owed, notices).encode()
    return KeptTerms(dict(sorted(files.items())), tuple(owed))


def shown_name(model: str) -> str:
    """Return what a model is called, without where it lies on a machine."""
    local = model.startswith(("/", "~", ".")) or "\\" in model
    return Path(model.replace("\\", "/")).name if local else model


def _kept(
    owing: Owing, name: str, folders: Sequence[Path], facts: TermsFacts
) -> tuple[str | None, dict[str, bytes]]:
    """Return where an obligation is kept, None where it is left to do, and files that it takes."""
    kind, licence = owing.obligation.kind, owing.licence
    if kind == "licence-copy":
        text = _licence_text(licence.id, folders, facts)
        path = f"{LICENCES_FOLDER}/{licence.id}.txt"
        return (None, {}) if text is None else (path, {path: text})
    if kind == "policy-copy":
        policies = [file for folder in folders for file in policy_files(folder)]
        copied = {
            f"{LICENCES_FOLDER}/{licence.id}-{file.name}": file.read_bytes() for file in policies
        }
        return next(iter(copied), None), copied
    if kind == "notice-copy":
        has_any = any(notice_files(folder) for folder in folders)
        # Where the weights came without one there is nothing to copy, and nothing is owed.
        return (NOTICE_FILE if has_any or licence.id == "apache-2.0" else None), {}
    if kind == "name-prefix":
        return (f"its name, {name}" if name.startswith(owing.obligation.text) else None), {}
    known = {"display": NOTICE_FILE, "notice": NOTICE_FILE, "flow-down": PASS_ON_FILE}
    return known.get(kind), {}


def _licence_text(wanted: str, folders: Sequence[Path], facts: TermsFacts) -> bytes | None:
    """Return a licence's text from the models' own files, or as it ships; None without either."""
    for folder in folders:
        for file in licence_files(folder):
            if recognised(file, facts).licence == wanted:
                return file.read_bytes()
    if wanted not in _SHIPPED:
        return None
    return (resources.files("potstill") / "data" / "licences" / f"{wanted}.txt").read_bytes()


def _notices(folder: Path) -> list[str]:
    return [f.read_text(encoding="utf-8", errors="replace").strip() for f in notice_files(folder)]


def _notice(
    name: str,
    decisions: Sequence[TermsDecision],
    owed: Sequence[OwedTerms],
    notices: Sequence[str],
) -> str:
    """Return the NOTICE: what the model comes from, what is shown, what is kept where."""
    come_from = {
        f"- {_how(decision)} {shown_name(decision.teacher)} "
        f"({', '.join(decision.licences) or 'no licence stated'})": None
        for decision in decisions
    }
    parts = [f"{name}: a model made with potstill.\n\nIt comes from:\n" + "\n".join(come_from)]
    shown = [o.obligation.text for o in owed if o.obligation.kind in ("display", "notice")]
    parts += list(dict.fromkeys(shown))
    if owed:
        parts.append("What is owed under these terms:\n" + "\n".join(map(_line, owed)))
    if notices:
        parts += ["Notices of the models that it comes from:", *dict.fromkeys(notices)]
    return "\n\n".join([*parts, _NO_ADVICE]) + "\n"


def _how(decision: TermsDecision) -> str:
    return {
        "teacher": "the outputs of",
        "base": "the weights of",
        "rows": "answers that the user's own rows hold, called",
    }[decision.role]


def _line(one: OwedTerms) -> str:
    kept = f"see {one.kept_in}" if one.kept_in else "for you to see to"
    intents = ", ".join(one.obligation.intents)
    return f"- {one.obligation.said} ({one.licence}; where the intent is {intents}): {kept}"


def _pass_on(name: str, passed_on: Sequence[OwedTerms], copied: Sequence[str]) -> str:
    """Return the terms that whoever is given the model has to be bound to."""
    lines = [f"# Terms to pass on with {name}", ""]
    lines += ["Whoever is given this model, or uses it as a service, has to be bound to:", ""]
    for one in passed_on:
        path = f"{LICENCES_FOLDER}/{one.licence}.txt"
        where = f"see {path}" if path in copied else "its text is not among these files: add it"
        lines.append(f"- {one.obligation.text} ({one.licence}): {where}")
    return "\n".join([*lines, "", _NO_ADVICE]) + "\n"
