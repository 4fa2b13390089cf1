"""Rows of the three tables, as the journal and the shards hold them.

`exchanges` and `marks` have typed Parquet columns; what has no fixed shape (messages,
sampling, usage) is JSON text, so that any reader of Parquet can use it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pyarrow as pa

from potstill.canonical import digest_of
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange
from potstill.text.tool_calls import Flaw, calls_in, spelled

# 1 (no number is stored): calls as the log or the server wrote them, tools nowhere.
# 2: tools in a column of their own, calls in one form, messages may hold calls and results.
SCHEMA_VERSION = 2
_VERSION_KEY = b"potstill.exchanges"

_TEXT = pa.string()
_IDS = pa.list_(pa.int32())

EXCHANGES = pa.schema(
    [
        ("exchange_id", _TEXT),
        ("prompt_id", _TEXT),
        ("split", _TEXT),
        ("messages", _TEXT),
        ("response", _TEXT),
        ("reasoning", _TEXT),
        ("tool_calls", _TEXT),
        ("prompt_token_ids", _IDS),
        ("response_token_ids", _IDS),
        ("tokenizer", _TEXT),
        ("finish_reason", _TEXT),
        ("teacher", _TEXT),
        ("sampling", _TEXT),
        ("sample_index", pa.int32()),
        ("watermark_key_id", _TEXT),
        ("terms_decision", _TEXT),
        ("usage", _TEXT),
        ("latency_s", pa.float64()),
        ("created_at", _TEXT),
        ("source", _TEXT),
        ("engine", _TEXT),
        ("dtype", _TEXT),
        ("device", _TEXT),
        ("returned_model", _TEXT),
        ("system_fingerprint", _TEXT),
        ("tools", _TEXT),
    ],
    metadata={_VERSION_KEY: str(SCHEMA_VERSION).encode()},
)
TARGETS = pa.schema(
    [
        ("exchange_id", _TEXT),
        ("scorer", _TEXT),
        ("spec", _TEXT),
        ("rows", pa.int32()),
        ("dim", pa.int32()),
        ("data", pa.binary()),
    ]
)
MARKS = pa.schema(
    [
        ("exchange_id", _TEXT),
        ("marker", _TEXT),
        ("kept", pa.bool_()),
        ("reason", _TEXT),
        ("sequence", pa.int64()),
    ]
)

_AS_JSON = ("messages", "sampling", "usage")


@dataclass(frozen=True, slots=True)
class Mark:
    """A judgement on one exchange: `marker` (curate step, terms) keeps or drops it, and why."""

    exchange_id: str
    marker: str
    kept: bool
    reason: str


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One row of `targets`: `rows` positions, `dim` the width of what `data` holds in the form
    that `spec` names."""

    exchange_id: str
    scorer: str
    spec: str
    rows: int
    dim: int
    data: bytes

    @property
    def key(self) -> TargetKey:
        """What may be stored only once."""
        return (self.exchange_id, self.scorer, self.spec)


TargetKey = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class MarkRow:
    """One row of `marks`; of two with the same exchange and marker the later one stands."""

    mark: Mark
    sequence: int


def exchange_to_row(exchange: Exchange) -> dict[str, Any]:
    """Return the columns of an exchange, in the types of `EXCHANGES`."""
    row = {field.name: getattr(exchange, field.name) for field in fields(exchange)}
    for name in _AS_JSON:
        row[name] = _as_json(row[name])
    for name in ("prompt_token_ids", "response_token_ids"):
        row[name] = None if row[name] is None else list(row[name])
    return row


def _as_json(value: Any) -> str:
    """Return JSON text with keys as they are: the order of arguments is part of what was said."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode().decode()


def schema_version(metadata: Mapping[bytes, bytes] | None) -> int:
    """Return the version that the metadata of a shard of exchanges states; 1 where none is."""
    stated = (metadata or {}).get(_VERSION_KEY, b"1")
    return int(stated) if stated.isdigit() else 0


def require_known_version(version: int, where: str) -> None:
    """Refuse exchanges of a version that is not known here; `where` names the file."""
    if not 1 <= version <= SCHEMA_VERSION:
        raise PotstillError(
            f"{where} holds exchanges in a newer form (schema {version}, known here are 1 to "
            f"{SCHEMA_VERSION}); read it with the version of potstill that wrote it, or a later one"
        )


def upgraded(row: dict[str, Any], version: int) -> dict[str, Any]:
    """Return a stored row in today's columns."""
    if version >= SCHEMA_VERSION:
        return row
    calls = upgraded_calls(row.get("tool_calls"))
    return {**row, "tools": row.get("tools"), "tool_calls": calls}


def upgraded_calls(stored: str | None) -> str | None:
    """Return calls that an older version stored in today's form.

    What cannot be brought into it stays as it is, and curation drops it.
    """
    calls = calls_in(stored, keep_text=True)
    return stored if isinstance(calls, Flaw) else spelled(calls)


def response_digest(
    response_token_ids: Sequence[int] | None, response: str, tool_calls: str | None = None
) -> bytes:
    """Return 16 bytes that name a response: by its token ids where known, else by its text and
    calls."""
    said: Any = response if tool_calls is None else [response, tool_calls]
    named = said if response_token_ids is None else list(response_token_ids)
    return bytes.fromhex(digest_of(named))


def exchange_table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    """Return rows of exchanges as an Arrow table, in the order given."""
    return pa.Table.from_pylist(list(rows), schema=EXCHANGES)


def target_table(rows: Sequence[TargetRow]) -> pa.Table:
    """Return rows of targets as an Arrow table, in the order given."""
    columns = [[getattr(row, name) for row in rows] for name in TARGETS.names]
    return pa.Table.from_arrays(
        [pa.array(column, kind) for column, kind in zip(columns, TARGETS.types, strict=True)],
        schema=TARGETS,
    )


def mark_table(rows: Sequence[MarkRow]) -> pa.Table:
    """Return rows of marks as an Arrow table, sorted by sequence."""
    ordered = sorted(rows, key=lambda row: row.sequence)
    return pa.Table.from_pylist(
        [
            {
                "exchange_id": row.mark.exchange_id,
                "marker": row.mark.marker,
                "kept": row.mark.kept,
                "reason": row.mark.reason,
                "sequence": row.sequence,
            }
            for row in ordered
        ],
        schema=MARKS,
    )
