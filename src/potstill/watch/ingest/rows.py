"""Batches of mapped rows as they are stored: hashed, sketched, without text unless it is wanted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from potstill.watch.ingest.fields import FLAW, LINE, PLACE, ROW
from potstill.watch.ingest.mapping import FROM, NO_ZONE, TYPED, UNFIT
from potstill.watch.ingest.secret import StoreKey
from potstill.watch.ingest.tally import RowCounts
from potstill.watch.schema import arrow_schema, store_columns
from potstill.watch.sketches import sketched, text_hashes

Privacy = Literal["metadata", "sketches", "full"]
ERASED, DELETED_DAY = "an erased account", "a deleted day"
_DAY = 86_400_000_000  # microseconds
ASIDE = pa.schema([("row", pa.int64()), ("reason", pa.string()), ("text", pa.string())])


@dataclass(frozen=True)
class Storing:
    """How rows are stored: of which `source` (16 digits), in which privacy mode, at what time.

    Rows of `erased` accounts (keyed hashes) and of `deleted` days are set aside.
    """

    source: str
    privacy: Privacy
    key: StoreKey
    now: datetime
    accounts: tuple[str, ...] = ()
    erased: frozenset[str] = frozenset()
    deleted: frozenset[str] = frozenset()

    @property
    def schema(self) -> pa.Schema:
        """The columns of what is stored."""
        return store_schema(self.privacy)

    @cached_property
    def clients(self) -> Callable[[str], tuple[str, str | None]]:
        """A function to the hashes of an address and of its network, which remembers them."""
        return self.key.clients()


@dataclass(frozen=True)
class Stored:
    """Rows by day, those that were set aside, and the counts of both."""

    days: dict[str, pa.Table]
    aside: pa.Table
    counts: RowCounts


def store_schema(privacy: Privacy) -> pa.Schema:
    """Return the columns that a store has in a privacy mode."""
    return arrow_schema(store_columns(sketches=privacy != "metadata", text=privacy == "full"))


def stored(batch: pa.RecordBatch, how: Storing) -> Stored:
    """Return the rows of a batch of mapped rows as they are stored."""
    table = pa.Table.from_batches([batch])
    good, counts = counted(batch, how)
    aside = _aside(table, _flaws(table, how))
    return Stored(_by_day(_rows(good, how)), aside, counts)


def counted(batch: pa.RecordBatch, how: Storing) -> tuple[pa.Table, RowCounts]:
    """Return the rows of a batch that can be used, and the counts of all; nothing is hashed."""
    counts = RowCounts()
    counts.rows = batch.num_rows
    table = pa.Table.from_batches([batch])
    flaws = _flaws(table, how)
    good = table.filter(flaws.is_null())
    counts.by["aside"].update(flaws.drop_null().to_pylist())
    _count(good, how, counts)
    return good, counts


def _flaws(table: pa.Table, how: Storing) -> pa.Array:
    """Return why rows are set aside, those that are nothing of the log's among them."""
    flaws = table[FLAW].combine_chunks()
    if how.deleted:
        times = table["time"].combine_chunks().cast(pa.timestamp("us", tz="UTC"))
        days = pc.strftime(times, "%Y-%m-%d")
        gone = pc.is_in(days, pa.array(sorted(how.deleted), pa.string()))
        flaws = pc.if_else(pc.and_(flaws.is_null(), gone), DELETED_DAY, flaws)
    if how.erased:
        names = table["account_id"].combine_chunks()
        hashes = each_text(names, how.key.hasher("erased"))
        gone = pc.is_in(hashes, pa.array(sorted(how.erased), pa.string()))
        flaws = pc.if_else(pc.and_(flaws.is_null(), gone), ERASED, flaws)
    return flaws


def _aside(table: pa.Table, flaws: pa.Array) -> pa.Table:
    which = flaws.is_valid()
    text = (
        pc.utf8_rtrim(table[LINE], "\r\n")
        if LINE in table.column_names
        else pa.nulls(len(flaws), pa.string())
    )
    every = pa.table({"row": table[PLACE], "reason": flaws, "text": text})
    return every.filter(which).cast(ASIDE)


def _count(good: pa.Table, how: Storing, counts: RowCounts) -> None:
    counts.kept = good.num_rows
    if not good.num_rows:
        return
    masks = np.asarray(good[UNFIT])
    if masks.any():
        for bit, column in enumerate(TYPED):
            counts.by["unfit"][column.name] += int(((masks >> bit) & 1).sum())
    fields = np.asarray(good[FROM])
    for place, name in enumerate(how.accounts):
        counts.by["accounts"][name] += int((fields == place).sum())
    counts.no_zone = pc.sum(good[NO_ZONE]).as_py() or 0
    counts.unnamed = good["request_id"].null_count
    micros = _micros(good["time"])
    for number, rows in zip(*np.unique(micros // _DAY, return_counts=True), strict=True):
        counts.by["days"][_day_name(number)] += int(rows)
    late = micros - int((how.now - _EPOCH) / timedelta(microseconds=1))
    counts.future = int((late > 0).sum())
    counts.ahead_s = max(float(late.max()) / 1e6, 0.0)
    ends = pc.min_max(good["time"]).as_py()
    counts.first, counts.last = (_stamp(ends[end]) for end in ("min", "max"))
    for name in good.column_names:
        if not name.startswith("_"):
            counts.by["filled"][name] += good.num_rows - good[name].null_count


def _rows(good: pa.Table, how: Storing) -> pa.Table:
    """Return rows with the store's columns."""
    columns = {name: good[name].combine_chunks() for name in good.column_names if name[0] != "_"}
    rows = good[ROW].combine_chunks()
    columns["row"], columns["source"] = rows, pa.repeat(how.source, len(rows))
    named = pc.binary_join_element_wise(how.source, rows.cast(pa.string()), ":")
    columns["request_id"] = pc.coalesce(columns["request_id"], named)
    columns["account_id"] = each_text(columns["account_id"], how.key.account)
    columns["client"], columns["client_subnet"] = _clients(columns, how)
    if how.privacy != "metadata":
        columns |= sketch_columns(columns, how.key.subkey("sketch", 16))
    schema = how.schema
    return pa.table([columns[name].cast(schema.field(name).type) for name in schema.names], schema)


def sketch_columns(columns: dict[str, pa.Array], key: bytes) -> dict[str, pa.Array]:
    """Return what is kept of prompts, system messages and answers, in columns of a store."""
    prompt = sketched(columns["prompt"], key)
    return {
        "prompt_sketch": prompt.sketch,
        "prompt_hash": prompt.whole,
        "prompt_head": prompt.head,
        "prompt_tail": prompt.tail,
        "prompt_words": prompt.words,
        # Few texts, and long ones.
        "system_hash": _of_each(columns["system"], lambda texts: text_hashes(texts, key)),
        "response_hash": text_hashes(columns["response"], key),
    }


def _clients(columns: dict[str, pa.Array], how: Storing) -> tuple[pa.Array, pa.Array]:
    hashes = each_text(columns["client"], lambda one: how.clients(one)[0])
    networks = each_text(columns["client"], lambda one: how.clients(one)[1])
    stated = each_text(columns["client_subnet"], how.key.hasher("subnet"))
    return hashes, pc.coalesce(networks, stated)


def each_text(values: pa.Array, function: Callable[[str], str | None]) -> pa.Array:
    """Return a function of each text, found once for equal ones."""
    if values.null_count == len(values):
        return pa.nulls(len(values), pa.string())
    found = values.dictionary_encode()
    named = [None if one is None else function(one) for one in found.dictionary.to_pylist()]
    return pa.array(named, pa.string()).take(found.indices)


def _of_each(values: pa.Array, function: Callable[[pa.Array], pa.Array]) -> pa.Array:
    """Return a function of texts, asked once for equal ones."""
    found = values.dictionary_encode()
    return function(found.dictionary).take(found.indices)


def _by_day(rows: pa.Table) -> dict[str, pa.Table]:
    if not rows.num_rows:
        return {}
    numbers = _micros(rows["time"]) // _DAY
    days = {}
    for number in np.unique(numbers):
        which = numbers == number
        days[_day_name(number)] = rows if which.all() else rows.filter(pa.array(which))
    return days


def _day_name(number: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=int(number))).isoformat()


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _micros(times: pa.ChunkedArray) -> Any:
    return np.asarray(times.combine_chunks().cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()))


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
