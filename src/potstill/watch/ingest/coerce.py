"""Fields as the schema's types, and where one does not fit.

A value that fits no column is null there, and counted: nothing is guessed. Empty text says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any

import ibis
import ibis.expr.types as ir

from potstill.watch.ingest.engine import lacks_zone, moment_of, moment_since, sane_moment
from potstill.watch.schema import Kind, TrafficColumn

_INT32 = 2**31
_YES, _NO = ("true", "1", "t", "yes"), ("false", "0", "f", "no")


def as_kind(value: Any, kind: Kind) -> Any:
    """Return a field as the type of a column."""
    return _KINDS[kind](value)


def as_text(value: Any) -> Any:
    """Return a field as text; numbers are names, too.

    A whole number is written without a point: tables turn 7 into 7.0 where a row has none, and one
    account would have two names.
    """
    if value.type().is_string():
        return value.nullif("")
    if not value.type().is_floating():
        return value.cast("string")
    whole = ibis.ifelse(_is_whole(value), value.try_cast("int64"), None)
    # Not `isnan`: DuckDB thinks that it knows of it from a file's least and largest.
    return ibis.coalesce(whole.cast("string"), value.cast("string").nullif("nan"))


def as_name(value: Any) -> Any:
    """Return a field as a name: text without white space around it."""
    return as_text(value).strip().nullif("")


def as_time(value: Any) -> Any:
    """Return a field as a moment; without a zone it is in the connection's."""
    kind = value.type()
    if kind.is_timestamp() or kind.is_date():
        moment = value.cast("timestamp('UTC', 6)")
    elif kind.is_unknown():
        # Nanoseconds with a zone, which DuckDB has and Ibis has no name for.
        moment = value.try_cast("timestamp('UTC', 6)")
    elif kind.is_numeric():
        moment = moment_since(value.try_cast("decimal(28, 9)"))
    elif kind.is_string():
        moment = moment_of(value.strip())
    else:
        return ibis.null("timestamp('UTC', 6)")
    return sane_moment(moment)


def without_zone(value: Any) -> Any:
    """Tell whether a field of a time states no zone."""
    kind = value.type()
    if kind.is_timestamp() or kind.is_date():
        return ibis.literal(kind.is_date() or kind.timezone is None) & value.notnull()
    if kind.is_string():
        return lacks_zone(value.strip())
    return ibis.literal(False)


def as_float(value: Any) -> Any:
    """Return a field as a finite number."""
    if value.type().is_boolean():
        return ibis.null("float64")
    number = value.try_cast("float64")
    return ibis.ifelse(number.isnan() | number.isinf(), None, number)


def as_int32(value: Any) -> Any:
    """Return a field as a whole number of at least 0."""
    kind = value.type()
    if kind.is_boolean():
        return ibis.null("int32")
    number = value if kind.is_integer() else as_float(value)
    whole = (number >= 0) & (number < _INT32)
    if not kind.is_integer():
        whole &= _is_whole(number)
    return ibis.ifelse(whole, number, None).cast("int32")


def _is_whole(number: Any) -> Any:
    """Tell whether a float is whole; `floor` casts to 64 bits, and fails beyond them."""
    return number % 1 == 0


def as_bool(value: Any) -> Any:
    """Return a field as a truth value."""
    if value.type().is_boolean():
        return value
    text = value.cast("string").lower()
    return ibis.cases((text.isin(_YES), True), (text.isin(_NO), False), else_=None)


_KINDS: Mapping[Kind, Callable[[Any], Any]] = {
    "text": as_text,
    "time": as_time,
    "int32": as_int32,
    "int64": lambda value: value.try_cast("int64"),
    "float64": as_float,
    "bool": as_bool,
}


def unfit_mask(
    raw: Mapping[str, Any], found: Mapping[str, Any], columns: tuple[TrafficColumn, ...]
) -> ir.IntegerValue:
    """Return a number a row whose bit n says that a value was there and did not fit column n."""
    bits = [
        ibis.ifelse(_said(raw[column.name]) & found[column.name].isnull(), 1 << n, 0)
        for n, column in enumerate(columns)
        if column.kind != "text" and column.name in raw
    ]
    return reduce(lambda one, other: one + other, bits, ibis.literal(0, "int64"))


def _said(value: Any) -> Any:
    """Tell whether a field says anything."""
    return value.notnull() & (value != "") if value.type().is_string() else value.notnull()


def coalesced(values: list[Any]) -> Any:
    """Return the first of several fields that says something, all of them as text."""
    return values[0] if len(values) == 1 else ibis.coalesce(*map(as_text, values))
