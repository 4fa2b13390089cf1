"""Engines that signals' expressions run on: DuckDB in this process, or Spark.

What follows an expression reads its rows in Arrow and is the same code on either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import ibis.expr.types as ir
import pyarrow as pa

from potstill.errors import PotstillError
from potstill.watch.ingest.engine import batches_of, micros_of

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend
    from ibis.backends.sql import SQLBackend


class TrafficEngine(Protocol):
    """What signals ask of an engine."""

    def rows(self, expression: ir.Table) -> pa.Table:
        """Return an expression's rows, in its order, with the types that Ibis says."""

    @property
    def far(self) -> bool:
        """Whether what is counted is better counted there than here, row by row."""

    def batches(self, expression: ir.Table, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield an expression's rows, so many at a time or fewer."""

    def named(self, name: str, table: pa.Table) -> ir.Table:
        """Return rows of this process under a name, in place of earlier ones."""

    def parquet(self, name: str, files: Iterable[Path]) -> ir.Table:
        """Return the rows of files under a name, in place of earlier ones."""

    def kept(self, name: str, expression: ir.Table) -> ir.Table:
        """Return an expression's rows under a name, found once, in place of earlier ones."""

    def micros(self, moment: Any) -> Any:
        """Return a moment as whole microseconds since 1970, whatever the session's zone."""


@dataclass(frozen=True)
class DuckEngine:
    """DuckDB through Ibis."""

    backend: Backend

    def rows(self, expression: ir.Table) -> pa.Table:
        """Return an expression's rows."""
        found: pa.Table = self.backend.to_pyarrow(expression)
        return found

    @property
    def far(self) -> bool:
        """It is in this process."""
        return False

    def batches(self, expression: ir.Table, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield an expression's rows as they are found; nothing else can be asked meanwhile."""
        yield from batches_of(self.backend, expression, rows)

    def named(self, name: str, table: pa.Table) -> ir.Table:
        """Return rows under a name."""
        self.backend.create_table(name, table, temp=True, overwrite=True)
        return self.backend.table(name)

    def parquet(self, name: str, files: Iterable[Path]) -> ir.Table:
        """Return the rows of files; DuckDB takes every path that it reads for a pattern."""
        return self.backend.read_parquet([escape(str(one)) for one in files], table_name=name)

    def kept(self, name: str, expression: ir.Table) -> ir.Table:
        """Return an expression's rows as a table."""
        self.backend.create_table(name, expression, temp=True, overwrite=True)
        return self.backend.table(name)

    def micros(self, moment: Any) -> Any:
        """Return a moment as microseconds."""
        return micros_of(moment)


def engine_of(backend: SQLBackend) -> TrafficEngine:
    """Return what signals ask of a connection of Ibis: DuckDB's, or one to a Spark session.

    Raises PotstillError for another one's.
    """
    if backend.name == "duckdb":
        return DuckEngine(backend)
    if backend.name == "pyspark":
        from potstill.watch.spark import SparkEngine

        return SparkEngine(backend)
    raise PotstillError(
        f"signals run on DuckDB and on Spark, and not on {backend.name}; give a connection of "
        "ibis.duckdb or of ibis.pyspark"
    )
