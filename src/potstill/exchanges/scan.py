"""A single pass over stored exchanges: row groups of the split asked, then what is in journals."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from operator import attrgetter
from typing import Any, TypeVar

from potstill.exchanges.collector import collector_at_rest
from potstill.exchanges.columns import (
    EXCHANGE_COLUMNS,
    OUTLINE_COLUMNS,
    Shared,
    exchange_from_row,
    exchanges_in,
    outline_of,
    outlines_in,
)
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.index import Index
from potstill.exchanges.outline import Outline
from potstill.exchanges.row_groups import RowGroup, batches_of

_Row = TypeVar("_Row", Exchange, Outline)

# Rows of a journal that are taken up at a time.
_JOURNAL_ROWS = 500


def exchange_parts(index: Index, split: str | None, shared: Shared) -> Iterator[list[Exchange]]:
    """Yield the exchanges of a split, or all, some at a time and as they lie."""
    for group, batch in batches_of(index.groups_of(split), EXCHANGE_COLUMNS, split):
        yield _standing(exchanges_in(batch, group.version, shared), index, group)
    for rows in _journal_rows(index, split):
        yield [exchange_from_row(row, shared) for row in rows]


def outline_parts(index: Index, split: str | None, shared: Shared) -> Iterator[list[Outline]]:
    """Yield the outlines of the exchanges of a split, or all, some at a time and as they lie."""
    for group, batch in batches_of(index.groups_of(split), OUTLINE_COLUMNS, split):
        yield _standing(outlines_in(batch, group.version, shared), index, group)
    for rows in _journal_rows(index, split):
        yield [outline_of(exchange_from_row(row, shared)) for row in rows]


def all_rows(parts: Iterator[list[_Row]]) -> list[_Row]:
    """Return the rows of all parts, sorted by exchange_id."""
    with collector_at_rest():
        rows = [row for part in parts for row in part]
        rows.sort(key=attrgetter("exchange_id"))
        return rows


def _standing(rows: list[_Row], index: Index, group: RowGroup) -> list[_Row]:
    """Return the rows of a group but for those that count in another shard."""
    return [row for row in rows if index.known[row.exchange_id].within is group]


def _journal_rows(index: Index, split: str | None) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows of exchanges that are in no shard, some at a time."""
    for journal in index.journals:
        ids = set(index.ids_in(journal, split))
        rows = (row for row, _ in journal.every_exchange(ids))
        while some := list(islice(rows, _JOURNAL_ROWS)):
            yield some
