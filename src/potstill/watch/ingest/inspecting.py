"""What a log is recognised as, what it lacks, and which signals that switches off."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from ibis.backends.duckdb import Backend

from potstill.errors import PotstillError
from potstill.watch.ingest.account_table import AccountTable
from potstill.watch.ingest.engine import batches_of
from potstill.watch.ingest.mapping import mapped_rows
from potstill.watch.ingest.recognise import Recognised, opened_source, recognised
from potstill.watch.ingest.rows import Storing, counted
from potstill.watch.ingest.secret import StoreKey
from potstill.watch.ingest.tally import FileTally, RowCounts
from potstill.watch.schema import REQUESTS, names_of, switched_off

# Shown with --with-text, and only then.
_EXAMPLES, _LONGEST = 3, 200


@dataclass(frozen=True)
class InspectedFile:
    """One file: its form and why, and what became of its rows; or the sentence that it is no log.

    `examples` are the first prompts, where they were asked for.
    """

    name: str
    form: str | None = None
    why: str = ""
    tally: FileTally = FileTally()
    problem: str | None = None
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Inspection:
    """A log, file by file. `there` and `missing` are columns, `off` the signals with what they
    lack; `unknown` counts accounts of the requests that the table of accounts does not have."""

    files: tuple[InspectedFile, ...]
    passed_over: tuple[str, ...]
    there: tuple[str, ...]
    missing: tuple[str, ...]
    accounts: dict[str, int]
    accounts_there: tuple[str, ...]
    accounts_aside: dict[str, int]
    unknown: int | None
    off: dict[str, tuple[str, ...]]

    def record(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        found = asdict(self)
        found["files"] = [
            {**asdict(one), "tally": one.tally.model_dump(mode="json")} for one in self.files
        ]
        return {"schema": "potstill/watch-inspect/1", **found}


class Inspecting:
    """Reads files one after the other, and keeps counts alone."""

    def __init__(
        self,
        backend: Backend,
        renames: Mapping[str, str],
        now: datetime,
        *,
        form: str | None = None,
        with_text: bool = False,
    ) -> None:
        self._backend = backend
        self._renames = renames
        self._now = now
        self._form = form
        self._with_text = with_text
        self.seen: set[str] = set()

    def file(self, path: Path) -> InspectedFile:
        """Return what a file is; where it is no log, why."""
        try:
            found = recognised(self._backend, path, self._renames, self._form)
            with opened_source(self._backend, path, found) as source:
                return self._rows(path, found, source)
        except PotstillError as error:
            return InspectedFile(path.name, problem=str(error))

    def _rows(self, path: Path, found: Recognised, source: Any) -> InspectedFile:
        mapped = mapped_rows(self._backend, source, found.form, self._renames, text=True)
        # Nothing is stored: any key will do.
        how = Storing("0" * 16, "full", StoreKey(bytes(32)), self._now, mapped.accounts)
        counts, examples = RowCounts(), list[str]()
        for batch in batches_of(self._backend, mapped.table, 8192):
            good, new = counted(batch, how)
            counts.add(new)
            self.seen.update(good["account_id"].unique().drop_null().to_pylist())
            if self._with_text and len(examples) < _EXAMPLES:
                examples += good["prompt"].drop_null().slice(0, _EXAMPLES).to_pylist()
        return InspectedFile(
            path.name,
            found.form.name,
            f"{found.shown} of the first {found.first} rows show {found.form.says}",
            counts.tally(),
            examples=tuple(text[:_LONGEST] for text in examples[:_EXAMPLES]),
        )


def inspection(
    files: Sequence[InspectedFile],
    passed_over: tuple[str, ...],
    seen: set[str],
    accounts: AccountTable | None,
) -> Inspection:
    """Return what the files and the table of accounts come to."""
    filled: Counter[str] = Counter()
    for one in files:
        filled.update(one.tally.filled)
    there = tuple(name for name in names_of(REQUESTS) if filled[name])
    columns = () if accounts is None else accounts.filled
    known = set() if accounts is None else set(_names(accounts.table))
    return Inspection(
        files=tuple(files),
        passed_over=passed_over,
        there=there,
        missing=tuple(name for name in names_of(REQUESTS) if not filled[name]),
        accounts={"in the log": len(seen), "in the table": len(known)},
        accounts_there=columns,
        accounts_aside={} if accounts is None else accounts.aside,
        unknown=None if accounts is None else len(seen - known),
        off=switched_off(there, columns),
    )


def _names(table: pa.Table) -> list[str]:
    found: list[str] = table["account_id"].to_pylist()
    return found
