"""Which form a file has, told from its first rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from potstill.errors import PotstillError
from potstill.watch.ingest import form_own, otlp
from potstill.watch.ingest.fields import FLAW, LINE, PLACE, ROW
from potstill.watch.ingest.form import TrafficForm
from potstill.watch.ingest.forms import FORMS
from potstill.watch.ingest.lines import line_batches
from potstill.watch.ingest.mapping import form_fields
from potstill.watch.ingest.sources import file_kind, source_of_lines, source_of_parquet

FIRST_ROWS = 500
_MOST_NAMED = 12
_FIRST = "potstill_first"


@dataclass(frozen=True)
class Recognised:
    """The form of a file: `shown` of its `first` rows show it. `names` are the fields seen.

    `bytes_a_row` is the mean length of the first lines, None of a table.
    """

    form: TrafficForm
    shown: int
    first: int
    names: tuple[str, ...]
    is_otlp: bool = False
    bytes_a_row: float | None = None


@contextmanager
def opened_source(backend: Backend, path: Path, found: Recognised) -> Iterator[ir.Table]:
    """Give all rows of a file that was recognised."""
    if file_kind(path) == "parquet":
        yield source_of_parquet(backend, path)
        return
    with source_of_lines(backend, path, is_otlp=found.is_otlp) as source:
        yield source


def recognised(
    backend: Backend, path: Path, renames: Mapping[str, str], form: str | None = None
) -> Recognised:
    """Return the form of a file.

    Raises PotstillError where no form shows in it; a table whose account and time are both
    stated by `renames` is potstill's own.
    """
    if file_kind(path) == "parquet":
        source = source_of_parquet(backend, path)
        return form_of(backend, source.limit(FIRST_ROWS), path.name, renames, form)
    lines = _first_lines(path)
    rows = [row for row in map(_object, lines) if row is not None]
    if not lines:
        raise PotstillError(
            f"{path.name} has no line that can be read: it is empty, or not what its name says"
        )
    if not rows:
        raise PotstillError(
            f"none of the first {len(lines)} lines of {path.name} is a JSON object; give a log of "
            "one object a line"
        )
    is_otlp = any(map(otlp.is_otlp, rows))
    mean = sum(map(len, lines)) / len(lines)
    names = tuple(dict.fromkeys(key for row in rows for key in row))
    # Asked of several forms, while a stream is read once.
    with source_of_lines(backend, path, is_otlp=is_otlp, limit=FIRST_ROWS) as source:
        backend.con.register(_FIRST, backend.to_pyarrow(source))
    found = form_of(backend, backend.table(_FIRST), path.name, renames, form, names)
    backend.con.unregister(_FIRST)
    return Recognised(found.form, found.shown, found.first, names, is_otlp, mean)


def form_of(
    backend: Backend,
    source: ir.Table,
    name: str,
    renames: Mapping[str, str],
    form: str | None = None,
    names: tuple[str, ...] = (),
) -> Recognised:
    """Return the form that most rows of a source show."""
    names = names or tuple(c for c in source.columns if c not in (ROW, PLACE, FLAW, LINE))
    forms = [f for f in FORMS if form in (None, f.name)]
    if not forms:
        known = ", ".join(f.name for f in FORMS)
        raise PotstillError(f"no form of traffic is named so; known are {known}")
    first = int(backend.execute(source.count()))
    if not first:
        raise PotstillError(f"{name} has no rows; leave it out")
    shown = [_shown(backend, source, one) for one in forms]
    most = max(shown)
    if most == 0 and renames.keys() & {"account_id", "time"}:
        return Recognised(form_own.OWN, 0, first, names)
    if most == 0 and form is None:
        seen = ", ".join(names[:_MOST_NAMED]) or "none"
        raise PotstillError(
            f"{name} is in no known form (its fields: {seen}); say where its columns are "
            "with --map account_id=FIELD --map time=FIELD"
        )
    return Recognised(forms[shown.index(most)], most, first, names)


def _shown(backend: Backend, source: ir.Table, form: TrafficForm) -> int:
    """Return how many rows of a source show a form."""
    fields = form_fields(backend, source, form)
    return int(backend.execute(fields.table.filter(form.sign(fields)).count()))


def _first_lines(path: Path) -> list[str]:
    lines: list[str] = []
    for batch in line_batches(path):
        lines += [line for line in batch.column(LINE).to_pylist() if line is not None]
        if len(lines) >= FIRST_ROWS:
            break
    return lines[:FIRST_ROWS]


def _object(line: str) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
