"""OTLP in JSON, as the OpenTelemetry collector's file exporter writes it, as one row a span.

A line holds many spans (or log records), whose attributes are lists of keys and typed values. Each
becomes a row with an object `attributes`; what the resource says of the service goes along.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from potstill.watch.ingest.fields import FLAW, LINE, PLACE, ROW
from potstill.watch.ingest.lines import SCHEMA

# Of each kind of export: what is around the scopes, the scopes, and what they hold.
_KINDS = (
    ("resourceSpans", "scopeSpans", "spans"),
    ("resourceLogs", "scopeLogs", "logRecords"),
)
_KEPT = ("traceId", "spanId", "startTimeUnixNano", "endTimeUnixNano", "timeUnixNano")
_OF_RESOURCE = ("service.name",)
_ROWS = 2048
_NO_SPANS = "no spans in OTLP's form"


def is_otlp(row: Mapping[str, Any]) -> bool:
    """Tell whether an object is an export of OTLP."""
    return any(outer in row for outer, _, _ in _KINDS)


def unpacked(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Yield the spans of lines as lines of their own; rows are numbered anew, lines keep theirs."""
    number, rows = 0, _Rows()
    for batch in batches:
        places, flaws, lines = (batch.column(name).to_pylist() for name in (PLACE, FLAW, LINE))
        for place, flaw, line in zip(places, flaws, lines, strict=True):
            for text in [None] if flaw is not None else _spans(line):
                number += 1
                rows.add(number, place, flaw or (_NO_SPANS if text is None else None), text)
            if len(rows) >= _ROWS:
                yield rows.taken()
    if len(rows):
        yield rows.taken()


class _Rows:
    """Rows that are gathered for a batch."""

    def __init__(self) -> None:
        self._columns: dict[str, list[Any]] = {name: [] for name in (ROW, PLACE, FLAW, LINE)}

    def __len__(self) -> int:
        return len(self._columns[ROW])

    def add(self, number: int, place: int, flaw: str | None, text: str | None) -> None:
        for name, value in ((ROW, number), (PLACE, place), (FLAW, flaw), (LINE, text)):
            self._columns[name].append(value)

    def taken(self) -> pa.RecordBatch:
        batch = pa.record_batch(self._columns, schema=SCHEMA)
        self._columns = {name: [] for name in self._columns}
        return batch


def _spans(line: str) -> list[str | None]:
    """Return the rows of a line as JSON text; one that is no export stays as it is, to be told."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return [line]
    if not isinstance(row, dict):
        return [line]
    try:
        found: list[str | None] = [
            json.dumps(_flat(span, resource)) for span, resource in _each(row)
        ]
    except (AttributeError, TypeError, KeyError, RecursionError):
        return [None]
    return found or ([None] if is_otlp(row) else [line])


def _each(row: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    for outer, middle, inner in _KINDS:
        for around in row.get(outer) or ():
            said = _attributes((around.get("resource") or {}).get("attributes"))
            resource = {key: said[key] for key in _OF_RESOURCE if key in said}
            for scope in around.get(middle) or ():
                for span in scope.get(inner) or ():
                    yield span, resource


def _flat(span: Mapping[str, Any], resource: Mapping[str, Any]) -> dict[str, Any]:
    kept = {key: span[key] for key in _KEPT if key in span}
    return {**kept, "attributes": {**resource, **_attributes(span.get("attributes"))}}


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair["key"]: _value(pair.get("value") or {}) for pair in pairs or ()}


def _value(value: Mapping[str, Any]) -> Any:
    """Return one of OTLP's typed values; whole numbers are text there, and stay exact."""
    if "arrayValue" in value:
        return [_value(one) for one in (value["arrayValue"] or {}).get("values") or ()]
    if "kvlistValue" in value:
        return _attributes((value["kvlistValue"] or {}).get("values"))
    return next(
        (value[k] for k in ("stringValue", "intValue", "doubleValue", "boolValue") if k in value),
        None,
    )
