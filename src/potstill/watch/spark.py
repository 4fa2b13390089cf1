"""Spark as an engine: the same expressions of Ibis, and a session for them.

Aggregations, joins and patterns run in Spark; what a test needs comes back in Arrow. No Python runs
on executors.
"""

from __future__ import annotations

import os
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import ibis
import ibis.expr.datatypes as dt
import ibis.expr.types as ir
import pyarrow as pa

from potstill.errors import PotstillError

if TYPE_CHECKING:
    from ibis.backends.pyspark import Backend

LOCAL = "local[2]"
_PATTERN = frozenset("\\{}[]*?,")  # what Hadoop takes for a pattern in a path
# Nothing of a session in this process listens beyond this machine; on a cluster the user says where
# executors find the driver.
_LOOPBACK: Mapping[str, str] = {
    "spark.driver.host": "127.0.0.1",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.memory": "2g",
    "spark.sql.shuffle.partitions": "4",
}
_ALWAYS: Mapping[str, str] = {
    "spark.app.name": "potstill watch",
    "spark.sql.session.timeZone": "UTC",
    "spark.log.level": "ERROR",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


def _moment(value):  # type: ignore[no-untyped-def]
    ...


_unix_micros = ibis.udf.scalar.builtin(
    _moment,
    name="unix_micros",
    signature=((dt.Timestamp(timezone="UTC", scale=6),), dt.int64),
)


@dataclass(frozen=True)
class SparkEngine:
    """A session of Spark through Ibis. Executors have to see the store's files at its path."""

    backend: Backend

    def rows(self, expression: ir.Table) -> pa.Table:
        """Return an expression's rows; Ibis' own way leads through floats of pandas."""
        found = self.backend.raw_sql(self.backend.compile(expression)).toArrow()
        return found.cast(expression.schema().to_pyarrow())

    @property
    def far(self) -> bool:
        """It counts where the rows are."""
        return True

    def batches(self, expression: ir.Table, rows: int) -> Iterator[pa.RecordBatch]:
        """Yield an expression's rows, which come all at once."""
        yield from self.rows(expression).to_batches(rows)

    def named(self, name: str, table: pa.Table) -> ir.Table:
        """Return rows of the driver under a name."""
        self._session.createDataFrame(table).createOrReplaceTempView(name)
        return self.backend.table(name)

    def parquet(self, name: str, files: Iterable[Path]) -> ir.Table:
        """Return the rows of files; Spark takes every path that it reads for a pattern."""
        paths = [f"file:{_escaped(str(one.absolute()))}" for one in files]
        self._session.read.parquet(*paths).createOrReplaceTempView(name)
        return self.backend.table(name)

    def kept(self, name: str, expression: ir.Table) -> ir.Table:
        """Return an expression's rows as a view, which Spark finds once and spills."""
        catalog = self._session.catalog
        # Dropping a view takes what was kept of it out of memory.
        catalog.dropTempView(name)
        self.backend.raw_sql(self.backend.compile(expression)).createOrReplaceTempView(name)
        catalog.cacheTable(name)
        return self.backend.table(name)

    def micros(self, moment: Any) -> Any:
        """Return a moment as microseconds."""
        return _unix_micros(moment)

    @property
    def _session(self) -> Any:
        # A backend tells its session through whatever it runs alone.
        return self.backend.raw_sql("SELECT 1").sparkSession


def _escaped(path: str) -> str:
    return "".join(f"\\{one}" if one in _PATTERN else one for one in path)


def session_settings(stated: Mapping[str, str], temporary: Path) -> dict[str, str]:
    """Return the settings of a session: what is stated, and what potstill adds.

    Without a master it is one in this process with two threads. One in this process spills to a
    folder, and listens on this machine's loopback alone.
    """
    master = stated.get("spark.master", LOCAL)
    mine = {"spark.master": master, **_ALWAYS}
    if master.startswith("local"):
        folders = {
            "spark.local.dir": str(temporary / "spill"),
            "spark.sql.warehouse.dir": str(temporary / "warehouse"),
        }
        mine |= {**_LOOPBACK, **folders}
    return {**mine, **stated}


@contextmanager
def spark_connection(stated: Mapping[str, str], temporary: Path) -> Iterator[Backend]:
    """Yield a connection to a session of Spark with settings, which is ended afterwards.

    Raises PotstillError without Java, and where the session does not come up.
    """
    if not _has_java():
        raise PotstillError(
            "Spark needs Java 17 or newer; install one, and let JAVA_HOME name its folder or "
            "PATH find `java`"
        )
    from pyspark.errors import PySparkException
    from pyspark.sql import SparkSession

    builder = SparkSession.builder
    for key, value in session_settings(stated, temporary).items():
        builder = builder.config(key, value)
    try:
        session = builder.getOrCreate()
    except (*spark_errors(), PySparkException) as error:
        raise PotstillError(
            "no session of Spark could be begun; what it printed above says why. Look at the "
            "version of Java (17 or newer) and at the settings given with --spark-conf"
        ) from error
    with warnings.catch_warnings():
        # No row passes through pandas.
        warnings.filterwarnings("ignore", "PySpark does not yet fully support pandas")
        backend = ibis.pyspark.connect(session)
    try:
        yield backend
    finally:
        backend.disconnect()


def spark_errors() -> tuple[type[Exception], ...]:
    """Return what Spark raises where a query fails; nothing where no session was begun."""
    if "pyspark" not in sys.modules:
        return ()
    from py4j.protocol import Py4JError
    from pyspark.errors import PySparkException

    return (PySparkException, Py4JError)


def _has_java() -> bool:
    home = os.environ.get("JAVA_HOME")
    return bool(home and (Path(home) / "bin/java").exists()) or shutil.which("java") is not None
