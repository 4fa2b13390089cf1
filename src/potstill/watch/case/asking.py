"""Printed queries, asked: every fact of a case is what its own query returns."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from potstill.watch.case.models import FactTable, Statement, Value
from potstill.watch.ingest.engine import MEMORY_MB, THREADS

Says = Callable[[Any], str]


@dataclass(frozen=True)
class Asker:
    """A connection of plain DuckDB that nothing of potstill is registered in.

    `instead` has what is asked in place of some queries, to the same result; figures that are
    `known` are not asked again.
    """

    connection: duckdb.DuckDBPyConnection
    instead: Mapping[str, str] = field(default_factory=dict)
    known: Mapping[str, Value] = field(default_factory=dict)

    @classmethod
    def fresh(cls, temporary: Path) -> Asker:
        """Return one that spills into a folder."""
        return cls(
            duckdb.connect(
                config={
                    "memory_limit": f"{MEMORY_MB}MB",
                    "threads": THREADS,
                    "temp_directory": str(temporary),
                }
            )
        )

    def prepare(self, statements: Iterable[str]) -> None:
        """Run statements that make tables."""
        for statement in statements:
            self._ran(statement)

    def value(self, query: str) -> Value:
        """Return the one figure of a query."""
        if query in self.known:
            return _plain(self.known[query])
        found = self._ran(query).fetchone()
        return None if found is None else _plain(found[0])

    def number(self, query: str) -> float:
        """Return the one figure of a query as a number, 0 for none."""
        found = self.value(query)
        return float(found) if isinstance(found, int | float) else 0.0

    def statement(self, name: str, query: str, says: Says) -> Statement:
        """Return a figure with what it says."""
        found = self.value(query)
        return Statement(name=name, says=says(found), value=found, query=query)

    def table(self, name: str, query: str) -> FactTable:
        """Return the rows of a query."""
        asked = self._ran(query)
        columns = tuple(str(column[0]) for column in asked.description or ())
        rows = tuple(tuple(map(_plain, row)) for row in asked.fetchall())
        return FactTable(name=name, columns=columns, rows=rows, query=query)

    def texts(self, query: str) -> tuple[str, ...]:
        """Return the first column of a query as texts."""
        return tuple(str(row[0]) for row in self._ran(query).fetchall())

    def _ran(self, query: str) -> duckdb.DuckDBPyConnection:
        return self.connection.execute(self.instead.get(query, query))


def script(statements: Iterable[str]) -> str:
    """Return statements as one text of SQL."""
    return "".join(f"{statement};\n" for statement in statements)


def _plain(value: Any) -> Value:
    """Return a value as JSON has it; what is no number, such as 0 / 0, is None."""
    if value is None or isinstance(value, str | int):
        return value
    number = float(value)
    return number if math.isfinite(number) else None
