"""Exchanges out of Arrow's columns and out of the journal's rows, with equal values shared.

A hundred thousand exchanges are mostly token ids and what they repeat: ids are tuples of numbers
that exist once, and names, settings and prompts that stand side by side are one object.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import MISSING, fields
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from potstill.exchanges.exchange import Exchange
from potstill.exchanges.outline import Outline
from potstill.exchanges.rows import SCHEMA_VERSION, upgraded_calls
from potstill.text.turns import Message

_T = TypeVar("_T")

_IDS = ("prompt_token_ids", "response_token_ids")
_JSON = ("messages", "sampling", "usage")
# What differs from row to row, so that there is nothing to share.
_OWN = ("exchange_id", "response", "reasoning", "created_at", "sample_index", "latency_s")
# Token ids below it are kept as numbers that exist once; no vocabulary is larger.
_LARGEST_ID = 1 << 20
# Rows whose numbers fit into the processor's cache: a whole batch took nearly twice as long.
_CACHED_ROWS = 128
# How many texts and settings are kept to be shared with what is read later.
_KEPT = 4_096

_FIELDS = fields(Exchange)
# Columns that a shard of an earlier version may lack, and what stands there then.
_ABSENT = {f.name: f.default for f in _FIELDS if f.default is not MISSING} | {"usage": {}}
_OUTLINED = tuple(f.name for f in fields(Outline) if f.name not in ("prompt", "response"))

_REPEATED = tuple(
    f.name for f in _FIELDS if f.name not in (*_OWN, *_IDS, *_JSON, "prompt_id", "tool_calls")
)

EXCHANGE_COLUMNS = tuple(f.name for f in _FIELDS)
OUTLINE_COLUMNS = (*_OUTLINED, *_IDS)


class Shared:
    """Gives out one object for equal values, as far as that is cheap."""

    def __init__(self) -> None:
        self._numbers_V: Any = np.empty(0, dtype=object)
        self._texts: dict[str, str] = {}
        self._parsed: dict[str, Any] = {}

    def numbers(self, ids_N: Any) -> list[int]:
        """Return token ids, an integer array, as Python's numbers."""
        if not len(ids_N) or ids_N.min() < 0 or (top := int(ids_N.max())) >= _LARGEST_ID:
            plain: list[int] = ids_N.tolist()
            return plain
        known = len(self._numbers_V)
        if top >= known:
            more = np.arange(known, max(top + 1, known + known // 4)).astype(object)
            self._numbers_V = np.concatenate([self._numbers_V, more])
        once: list[int] = self._numbers_V.take(ids_N).tolist()
        return once

    def ids(self, ids: Sequence[int] | None) -> tuple[int, ...] | None:
        """Return the ids of one text."""
        return None if ids is None else tuple(self.numbers(np.asarray(ids, dtype=np.int64)))

    def text(self, value: str) -> str:
        """Return a text that many rows repeat."""
        return _kept(self._texts, value, lambda text: text)

    def parsed(self, value: str) -> Any:
        """Return the JSON value in a text that many rows repeat."""
        return _kept(self._parsed, value, json.loads)


def exchanges_in(batch: pa.RecordBatch, version: int, shared: Shared) -> list[Exchange]:
    """Return the exchanges in a batch of a shard of that schema version."""
    return list(map(Exchange, *(_values(batch, f.name, version, shared) for f in _FIELDS)))


def outlines_in(batch: pa.RecordBatch, version: int, shared: Shared) -> list[Outline]:
    """Return the outlines of the exchanges in a batch with the columns of `OUTLINE_COLUMNS`."""
    columns = [_values(batch, name, version, shared) for name in _OUTLINED]
    lengths = [pc.list_value_length(batch.column(name)).to_pylist() for name in _IDS]
    return list(map(Outline, *columns, *lengths))


def exchange_from_row(row: dict[str, Any], shared: Shared) -> Exchange:
    """Return the exchange that `exchange_to_row` was given."""
    values = dict(row)
    values["messages"] = tuple(json.loads(values["messages"]))
    for name in ("sampling", "usage"):
        values[name] = shared.parsed(values[name])
    for name in _IDS:
        values[name] = shared.ids(values[name])
    for name in _REPEATED:
        if isinstance(value := values.get(name), str):
            values[name] = shared.text(value)
    return Exchange(**values)


def outline_of(row: Exchange) -> Outline:
    """Return what is known of an exchange beside its words."""
    ids = [getattr(row, name) for name in _IDS]
    lengths = [None if one is None else len(one) for one in ids]
    return Outline(*(getattr(row, name) for name in _OUTLINED), *lengths)


def _values(batch: pa.RecordBatch, name: str, version: int, shared: Shared) -> list[Any]:
    """Return a column as the values of an exchange's field."""
    if name not in batch.schema.names:
        return [_ABSENT[name]] * batch.num_rows
    column = batch.column(name)
    if column.null_count == len(column):
        return [None] * len(column)
    if name in _IDS:
        return _token_ids(column, shared)
    if name in _OWN:
        values: list[Any] = column.to_pylist()
        return values
    if name == "messages":
        return _each_once(column, _messages)
    if name in _JSON:
        return _each_once(column, lambda texts: map(shared.parsed, texts))
    if name == "tool_calls" and version < SCHEMA_VERSION:
        return _each_once(column, lambda texts: map(upgraded_calls, texts))
    if name in ("prompt_id", "tool_calls"):
        # Too many to be kept: they would drive the others out.
        return _each_once(column, iter)
    return _each_once(column, lambda texts: map(shared.text, texts))


def _token_ids(column: pa.Array, shared: Shared) -> list[tuple[int, ...] | None]:
    """Return the lists of a column as tuples."""
    ends = column.offsets.to_pylist()
    ids_N = _integers(column.values)
    found: list[tuple[int, ...] | None] = []
    for row in range(0, len(column), _CACHED_ROWS):
        inside = ends[row : row + _CACHED_ROWS + 1]
        start = inside[0]
        numbers = shared.numbers(ids_N[start : inside[-1]])
        found += [tuple(numbers[a - start : b - start]) for a, b in pairwise(inside)]
    if column.null_count:
        for i, absent in enumerate(column.is_null().to_pylist()):
            if absent:
                found[i] = None
    return found


def _integers(values: pa.Array) -> Any:
    """Return an int32 column without nulls as a numpy array (its own way would import pandas)."""
    _, data = values.buffers()
    if data is None:
        return np.empty(0, dtype=np.int32)
    return np.frombuffer(data, dtype=np.int32)[values.offset : values.offset + len(values)]


def _each_once(column: pa.Array, values_of: Callable[[list[str]], Iterable[_T]]) -> list[_T | None]:
    """Return what `values_of` makes of the texts of a column, made once for equal ones."""
    encoded = column.dictionary_encode()
    values = list(values_of(encoded.dictionary.to_pylist()))
    return [None if i is None else values[i] for i in encoded.indices.to_pylist()]


def _messages(texts: list[str]) -> Iterable[tuple[Message, ...]]:
    """Return the messages of prompts; all are one text to the parser, which takes half as long."""
    return map(tuple, json.loads(f"[{','.join(texts)}]"))


def _kept(kept: dict[str, _T], text: str, value_of: Callable[[str], _T]) -> _T:
    """Return the value of a text as it was made before, if it is still kept."""
    found = kept.get(text)
    if found is None:
        if len(kept) >= _KEPT:
            kept.clear()
        found = kept[text] = value_of(text)
    return found
