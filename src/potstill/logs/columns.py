"""Columns of a typed table as Python values, odd ones too.

Python knows no nanoseconds, no year after 9999 and not every name of a time zone: a column that
nobody asks for must not cost the table.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pyarrow as pa

Column = Any  # an array of Arrow's, or one in chunks; the library has no types
Retype = Callable[[pa.DataType], pa.DataType]
# Stands for a value that Python cannot hold, nor as text.
NO_VALUE = object()
# A name of a zone that pytz does not know, which Arrow asks where it is installed, is a KeyError.
_FAULTS = (ValueError, OverflowError, KeyError, pa.ArrowException)


def column_values(column: Column) -> list[Any]:
    """Return the values of a column; times in microseconds, or as text where Python has none.

    Text that is not UTF-8 holds lone surrogates. What cannot be read at all is `NO_VALUE`.
    """
    kind = _mapped(column.type, _moment)
    try:
        return _as(column, kind)
    except _FAULTS:
        if len(column) < 2:
            return [_odd_value(column)] if len(column) else []
    half = len(column) // 2
    return column_values(column.slice(0, half)) + column_values(column.slice(half))


def _odd_value(column: Column) -> Any:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        (raw,) = column.cast(pa.large_binary()).to_pylist()
        return raw.decode(errors="surrogateescape")
    for other in (pa.string(), pa.int64()):
        try:
            return _as(column, _mapped(column.type, partial(_always, other)))[0]
        except _FAULTS:
            continue
    return NO_VALUE


def _as(column: Column, kind: pa.DataType) -> list[Any]:
    found: list[Any] = (
        column if kind == column.type else column.cast(kind, safe=False)
    ).to_pylist()
    return found


def _mapped(kind: pa.DataType, moment: Retype) -> pa.DataType:
    """Return a type with its times, however deep, replaced."""
    if pa.types.is_temporal(kind):
        return moment(kind)
    if pa.types.is_dictionary(kind):
        inner = _mapped(kind.value_type, moment)
        return kind if inner == kind.value_type else inner
    if pa.types.is_struct(kind):
        fields = [kind.field(at) for at in range(kind.num_fields)]
        return pa.struct([field.with_type(_mapped(field.type, moment)) for field in fields])
    if pa.types.is_map(kind):
        return pa.map_(_mapped(kind.key_type, moment), _mapped(kind.item_type, moment))
    for is_kind, make in ((pa.types.is_list, pa.list_), (pa.types.is_large_list, pa.large_list)):
        if is_kind(kind):
            return make(kind.value_field.with_type(_mapped(kind.value_type, moment)))
    return kind


def _always(other: pa.DataType, _: pa.DataType) -> pa.DataType:
    return other


def _moment(kind: pa.DataType) -> pa.DataType:
    """Return a type of times that Python can hold."""
    if pa.types.is_timestamp(kind):
        unit = "us" if kind.unit == "ns" else kind.unit
        return pa.timestamp(unit, kind.tz if _is_zone(kind.tz) else "UTC")
    if pa.types.is_time64(kind):
        return pa.time64("us")
    if pa.types.is_duration(kind) and kind.unit == "ns":
        return pa.duration("us")
    return kind


def _is_zone(name: str | None) -> bool:
    try:
        return name is None or pa.lib.string_to_tzinfo(name) is not None
    except _FAULTS:
        return False
