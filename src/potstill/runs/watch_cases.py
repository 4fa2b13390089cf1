"""Cases of a store, written as pages and for programs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from potstill.canonical import canonical_text
from potstill.durable import (
    read_lines,
    remove_leftovers_of,
    replaced_directory,
    temporary_folder,
    write_bytes,
    write_errors,
)
from potstill.errors import PotstillError
from potstill.extras import extra_package
from potstill.report.cases.page import appeal_page, case_page, cases_page
from potstill.runs.watch_finding import require_level
from potstill.runs.watch_injected import with_injected_note
from potstill.runs.watching import open_store, told_damage, traffic_engine
from potstill.watch.case.models import Appeal, Case, CasesOfRun
from potstill.watch.case.register import CASES_FOLDER, CaseRegister
from potstill.watch.evidence import FoundPart

if TYPE_CHECKING:
    from potstill.watch.cases import CaseRun

CASES_FILE, CASE_FILE, QUERIES_FILE = "cases.json", "case.json", "queries.sql"
APPEALS_FILE, FINDINGS_FILE = "appeals.jsonl", "findings.jsonl"
CASES_PAGE, CASE_PAGE = "cases.html", "case.html"


@dataclass(frozen=True)
class CasesWanted:
    """What cases are made of and for; without `out` they are written into the store."""

    store: Path
    out: Path | None = None
    level: float = 0.05
    key: Path | None = None
    with_text: bool = False
    now: datetime | None = None

    @property
    def place(self) -> Path:
        """Where the cases are written."""
        return self.out or self.store / CASES_FOLDER


def write_cases(wanted: CasesWanted) -> CasesOfRun:
    """Find campaigns, write them as cases, and return the list of them.

    What an earlier run wrote in the same place is replaced as a whole. Raises PotstillError where
    there is no store or nothing in it, where something else lies in the place, and where prompts
    are to be shown that the store does not keep.
    """
    require_level(wanted.level)
    extra_package("networkx", "the watch", "watch")
    with traffic_engine("UTC") as backend:
        from potstill.watch.cases import CaseRun, allowed_accounts, named_run
        from potstill.watch.find import find_campaigns

        with open_store(wanted.store, None, wanted.key, there=True) as store:
            refuse_other_folder(wanted.place, wanted.store)
            if wanted.with_text and store.config.privacy != "full":
                raise PotstillError(
                    f"{wanted.store} keeps no texts; leave --with-text out, or take the logs into "
                    "another store with --privacy full"
                )
            register = store.done(CaseRegister) or CaseRegister()
            allowed = allowed_accounts(store, register)
            with told_damage(store):
                found = find_campaigns(store, backend, wanted.level, allowed)
            found = with_injected_note(store, found)
            named, after = named_run(found, register)
            # A place outside the store is swept by nobody else, and prompts may be in it.
            remove_leftovers_of(wanted.place)
            with replaced_directory(wanted.place) as building, told_damage(store):
                run = CaseRun(
                    store, found, named, wanted.place, building, allowed, wanted.with_text
                )
                of_run = _write(run, after, wanted.now or datetime.now(UTC))
            store.finish(after)
            return of_run


def refuse_other_folder(place: Path, store: Path) -> None:
    """Raise PotstillError for a place that holds something else than an earlier run's cases, and
    for one in the store where nobody would look for what has to be forgotten."""
    inside = store.resolve() in place.resolve().parents
    if inside and place.resolve() != (store / CASES_FOLDER).resolve():
        raise PotstillError(
            f"{place} lies in the store, where cases are written to {store / CASES_FOLDER} alone; "
            "leave --out away, or choose a directory outside"
        )
    if place.exists() and not (place / CASES_FILE).is_file():
        if place.is_dir() and not any(place.iterdir()):
            return
        raise PotstillError(
            f"{place} holds something else than cases; choose another directory with --out"
        )


def _write(run: CaseRun, register: CaseRegister, now: datetime) -> CasesOfRun:
    from potstill.watch.case.ocsf import finding_of
    from potstill.watch.cases import cases_of_run, line_of, made_cases

    lines, findings = [], []
    made_by = version("potstill")
    # What does not fit is of the cases, not of the folder for temporary files.
    with temporary_folder() as spill, write_errors(run.out):
        for case in made_cases(run, spill):
            _write_case(run.building / case.case_id, case, statuses=run.statuses)
            lines.append(line_of(case))
            findings.append(finding_of(case, now, made_by))
    of_run = cases_of_run(run, lines, register, now, made_by)
    _put(run.building / FINDINGS_FILE, _lines(findings))
    _put(run.building / CASES_FILE, _lines([of_run]))
    _put(run.building / CASES_PAGE, cases_page(of_run))
    return of_run


def _write_case(folder: Path, case: Case, *, statuses: bool) -> None:
    from potstill.watch.case.appeal import appeals_of
    from potstill.watch.case.replay import queries_text

    families = case.inference.families
    appeals = appeals_of(case.case_id, case.facts, families, statuses=statuses)
    _put(folder / CASE_FILE, _lines([case]))
    _put(folder / QUERIES_FILE, queries_text(case))
    _put(folder / APPEALS_FILE, _lines(appeals))
    _put(folder / CASE_PAGE, case_page(case))


def _lines(records: Sequence[FoundPart]) -> str:
    """Return records as lines of JSON, each on one."""
    dumped = (one.model_dump(mode="json", by_alias=True) for one in records)
    return "".join(f"{canonical_text(one)}\n" for one in dumped)


def _put(path: Path, text: str) -> None:
    # The folder is flushed as a whole before it takes its place. Halves of surrogate pairs, which
    # an account's name may hold, have no bytes.
    path.write_text(text, encoding="utf-8", errors="replace")


def write_appeal(cases: Path, case_id: str, account: str, out: Path | None) -> tuple[Path, Appeal]:
    """Write the packet of one account of a case as a page, and return where, with the packet.

    `cases` is the folder of the cases, or the store that they lie in. Raises PotstillError where
    there is no such case or account.
    """
    if not (cases / CASES_FILE).is_file():
        cases = cases / CASES_FOLDER
    lines = read_lines(cases / case_id / APPEALS_FILE) if case_id.isalnum() else []
    for line in lines:
        if line.get("account") == account:
            appeal = _appeal(cases / case_id / APPEALS_FILE, line)
            place = out or Path(f"appeal-{case_id}.html")
            write_bytes(place, appeal_page(appeal).encode("utf-8", "replace"))
            return place, appeal
    if not lines:
        raise PotstillError(
            f"{cases} holds no case {case_id}; `potstill watch cases` writes those there are"
        )
    raise PotstillError(f"the case {case_id} has no account of that name; case.json lists them")


def _appeal(path: Path, line: dict[str, Any]) -> Appeal:
    try:
        return Appeal.model_validate(line)
    except ValidationError:
        raise PotstillError(
            f"{path} is damaged, or of another version; `potstill watch cases` writes it again"
        ) from None
