"""Cases of a store, written as pages and for programs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from potstill.canonical import canonical_text
from potstill.durable import (
    ELSEWHERE,
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
from potstill.runs.watch_engines import EngineWanted, finding_engine
from potstill.runs.watch_finding import require_level
from potstill.runs.watch_injected import with_injected_note
from potstill.runs.watching import open_store, told_damage
from potstill.watch.case.models import Appeal, Case, CasesOfRun
from potstill.watch.case.register import CASES_FOLDER, CaseRegister
from potstill.watch.evidence import FoundPart
from potstill.work.workdir import STATE

if TYPE_CHECKING:
    from potstill.watch.cases import CaseRun
    from potstill.watch.ingest.store import TrafficStore

CASES_FILE, CASE_FILE, QUERIES_FILE = "cases.json", "case.json", "queries.sql"
APPEALS_FILE, FINDINGS_FILE, STIX_FILE = "appeals.jsonl", "findings.jsonl", "case.stix.json"
CASES_PAGE, CASE_PAGE = "cases.html", "case.html"


@dataclass(frozen=True)
class CasesWanted:
    """What cases are made of and for; without `out` they are written into the store.

    `engine` is what campaigns are found on; a case's queries are asked of DuckDB. With `stix` each
    case is a bundle of STIX too.
    """

    store: Path
    out: Path | None = None
    level: float = 0.05
    key: Path | None = None
    with_text: bool = False
    now: datetime | None = None
    engine: EngineWanted = field(default_factory=EngineWanted)
    stix: bool = False

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
    with ExitStack() as searching:
        backend = searching.enter_context(finding_engine(wanted.engine))
        from potstill.watch.cases import CaseRun, allowed_accounts, named_run
        from potstill.watch.find import find_campaigns

        with open_store(wanted.store, None, wanted.key, there=True) as store:
            refuse_other_folder(wanted.place, wanted.store)
            _require_writable(store)
            if wanted.with_text and store.config.privacy != "full":
                raise PotstillError(
                    f"{wanted.store} keeps no texts; leave --with-text out, or take the logs into "
                    "another store with --privacy full"
                )
            register = store.done(CaseRegister) or CaseRegister()
            allowed = allowed_accounts(store, register)
            with told_damage(store):
                found = find_campaigns(store, backend, wanted.level, allowed)
            # Cases are asked of an engine of their own, which needs the memory of this one.
            searching.close()
            found = with_injected_note(store, found)
            named, after = named_run(found, register)
            # A place outside the store is swept by nobody else, and prompts may be in it.
            remove_leftovers_of(wanted.place)
            way_out = ELSEWHERE if wanted.out is not None else store.way_out
            with replaced_directory(wanted.place, way_out) as building, told_damage(store):
                run = CaseRun(
                    store, found, named, wanted.place, building, allowed, wanted.with_text
                )
                of_run = _write(run, after, wanted.now or datetime.now(UTC), stix=wanted.stix)
            store.finish(after)
            return of_run


def _require_writable(store: TrafficStore) -> None:
    """Raise PotstillError, before anything is searched, for a store that cannot be written: the
    ids of its cases are kept in it, wherever these are written."""
    state = store.root / STATE
    if not os.access(state if state.is_dir() else store.root, os.W_OK):
        raise PotstillError(
            f"cannot write to {store.root}, where the ids of cases are kept from day to day; "
            f"{store.way_out} or change its permissions"
        )


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


def _write(run: CaseRun, register: CaseRegister, now: datetime, *, stix: bool) -> CasesOfRun:
    import pyarrow as pa

    from potstill.watch.case.ocsf import finding_of
    from potstill.watch.case.scores import STRENGTHS_FILE, strengths_table, write_table
    from potstill.watch.case.stix import bundle_of
    from potstill.watch.cases import cases_of_run, line_of, made_cases
    from potstill.watch.ingest.engine import engine_errors

    lines, findings, strengths = [], [], [strengths_table("", ())]
    made_by = version("potstill")
    # What does not fit is of the cases, not of the folder for temporary files.
    with temporary_folder() as spill, engine_errors(spill), write_errors(run.out):
        for case in made_cases(run, spill):
            folder = run.building / case.case_id
            _write_case(folder, case, statuses=run.statuses)
            if stix:
                _put(folder / STIX_FILE, _lines([bundle_of(case, now)]))
            lines.append(line_of(case))
            findings.append(finding_of(case, now, made_by))
            strengths.append(strengths_table(case.case_id, case.inference.members))
        write_table(run.building / STRENGTHS_FILE, pa.concat_tables(strengths))
    of_run = cases_of_run(run, lines, register, now, made_by)
    _put(run.building / FINDINGS_FILE, _lines(findings))
    _put(run.building / CASES_FILE, _lines([of_run]))
    _put(run.building / CASES_PAGE, cases_page(of_run))
    return of_run


def _write_case(folder: Path, case: Case, *, statuses: bool) -> None:
    from potstill.watch.case.appeal import appeals_of
    from potstill.watch.case.replay import queries_text

    appeals = appeals_of(case.case_id, case.facts, case.inference, statuses=statuses)
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
    listed = (cases / CASES_FILE).is_file() or (case_id.isalnum() and (cases / case_id).is_dir())
    if not listed:
        cases = cases / CASES_FOLDER
    folder = cases / case_id
    if not case_id.isalnum() or not folder.is_dir():
        raise PotstillError(
            f"{cases} holds no case {case_id}; `potstill watch cases` writes those there are"
        )
    path = folder / APPEALS_FILE
    for line in read_lines(path):
        if line.get("account") == account:
            appeal = _appeal(path, line)
            place = out or Path(f"appeal-{case_id}.html")
            page = appeal_page(appeal).encode("utf-8", "replace")
            write_bytes(place, page, "name another file with --out")
            return place, appeal
    # The account's own line may be the one that cannot be read.
    if not _is_whole(path):
        raise _damaged(path)
    raise PotstillError(f"the case {case_id} has no account of that name; case.json lists them")


def _is_whole(path: Path) -> bool:
    """Tell whether every line of a file of lines can be read, and one is there."""
    if not path.is_file():
        return False
    lines = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    return 0 < len(lines) == len(read_lines(path))


def _appeal(path: Path, line: dict[str, Any]) -> Appeal:
    try:
        return Appeal.model_validate(line)
    except ValidationError:
        raise _damaged(path) from None


def _damaged(path: Path) -> PotstillError:
    return PotstillError(
        f"{path} is damaged, or of another version; `potstill watch cases` writes it again"
    )
