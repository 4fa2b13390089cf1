"""The fields of a source of rows, whether its rows are lines of JSON or columns of a table.

A source is a table with `_row`, its number from 1, `_place`, the line that it stands in, `_flaw`,
why it cannot be read, and either `_line`, its text, or its own columns. Fields are text (JSON where
they are structured), or typed where a table's column is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from potstill.watch.ingest.engine import as_object, json_text, stage, texts_at

ROW, PLACE, LINE, FLAW = "_row", "_place", "_line", "_flaw"
NOT_JSON = "no JSON object"


@dataclass(frozen=True)
class Fields:
    """A table with a column for each field that was asked for, beside `_row` and the like.

    `inner` names the members that were asked for of fields that hold objects.
    """

    table: ir.Table
    names: tuple[str, ...]
    inner: Mapping[str, tuple[str, ...]]

    def __getitem__(self, name: str) -> Any:
        """Return a field; null text where the source has none of the name."""
        place = _column(self.names.index(name))
        return self.table[place] if place in self.table.columns else ibis.null("string")

    def inside(self, name: str) -> dict[str, Any]:
        """Return the members of a field that holds an object, or an object's text, as text."""
        keys, place = self.inner[name], self.names.index(name)
        if _inner(place, 0) not in self.table.columns:
            return dict.fromkeys(keys, ibis.null("string"))
        return {key: self.table[_inner(place, number)] for number, key in enumerate(keys)}


def fields_of(
    backend: Backend,
    source: ir.Table,
    names: Sequence[str],
    inner: Mapping[str, tuple[str, ...]],
    *,
    keep_lines: bool = False,
) -> Fields:
    """Return the fields of a source, each once; with `keep_lines` the lines beside them."""
    names = tuple(dict.fromkeys((*names, *inner)))
    if LINE in source.columns:
        table = _of_lines(backend, source, names, keep_lines)
    else:
        kept = {
            _column(n): _of_column(source[name])
            for n, name in enumerate(names)
            if _has(source, name)
        }
        table = stage(backend, source.select(ROW, PLACE, FLAW, **kept), "fields")
    members = {
        _column(names.index(name)): keys
        for name, keys in inner.items()
        if _holds_text(table, _column(names.index(name)))
    }
    if members:
        table = _with_members(backend, table, members)
    return Fields(table, names, inner)


def _of_lines(
    backend: Backend, source: ir.Table, names: tuple[str, ...], keep_lines: bool
) -> ir.Table:
    kept = (ROW, PLACE, *((LINE,) if keep_lines else ()))
    found = source.select(*kept, FLAW, _found=texts_at(as_object(source[LINE]), names))
    found = stage(backend, found, "lines")
    broken = ibis.ifelse(found["_found"].isnull(), NOT_JSON, ibis.null("string"))
    columns = {_column(n): found["_found"][n] for n in range(len(names))}
    flaw = ibis.coalesce(found[FLAW], broken)
    return stage(backend, found.select(*kept, **{FLAW: flaw}, **columns), "fields")


def _with_members(
    backend: Backend, table: ir.Table, members: Mapping[str, tuple[str, ...]]
) -> ir.Table:
    """Return a table with a column for each member of the objects that its columns hold."""
    lists = {f"l{c}": texts_at(as_object(table[c]), keys) for c, keys in members.items()}
    found = stage(backend, table.mutate(**lists), "members")
    single = {
        _inner(int(column[1:]), number): found[f"l{column}"][number]
        for column, keys in members.items()
        for number in range(len(keys))
    }
    return stage(backend, found.select(*table.columns, **single), "inner")


def _of_column(value: Any) -> Any:
    kind = value.type()
    if kind.is_struct() or kind.is_map() or kind.is_array():
        return json_text(value)
    if kind.is_json() or kind.is_uuid() or kind.is_binary():
        return value.cast("string")
    return value


def _has(source: ir.Table, name: str) -> bool:
    return name in source.columns and name not in (ROW, PLACE, FLAW)


def _holds_text(table: ir.Table, column: str) -> bool:
    return column in table.columns and table[column].type().is_string()


def _column(number: int) -> str:
    return f"f{number}"


def _inner(place: int, number: int) -> str:
    return f"m{place}_{number}"
