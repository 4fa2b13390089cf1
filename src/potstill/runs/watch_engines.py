"""Which engine campaigns are found on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from potstill.durable import temporary_folder
from potstill.errors import PotstillError
from potstill.extras import extra_package
from potstill.runs.watching import traffic_engine

if TYPE_CHECKING:
    from ibis.backends.sql import SQLBackend

ENGINES = ("duckdb", "spark")


@dataclass(frozen=True)
class EngineWanted:
    """An engine as a user names it; `spark_conf` are `key=value`, and may hold what is secret."""

    name: str = "duckdb"
    spark_conf: tuple[str, ...] = ()

    def settings(self) -> dict[str, str]:
        """Return the settings of Spark. Raises PotstillError for an engine nobody knows, and for
        settings that are none or have no engine."""
        if self.name not in ENGINES:
            raise PotstillError(f"--engine is one of {', '.join(ENGINES)}; choose one of these")
        if self.spark_conf and self.name != "spark":
            raise PotstillError("--spark-conf is for --engine spark; add that, or leave it out")
        found = {}
        for one in self.spark_conf:
            key, there, value = one.partition("=")
            if not there or not key.startswith("spark."):
                raise PotstillError(
                    "--spark-conf takes a setting of Spark and its value, for example "
                    "spark.driver.memory=8g"
                )
            found[key] = value
        return found


@contextmanager
def finding_engine(wanted: EngineWanted) -> Iterator[SQLBackend]:
    """Yield a connection that signals' expressions run on, with a folder of its own to spill to."""
    settings = wanted.settings()
    if wanted.name == "duckdb":
        with traffic_engine("UTC") as backend:
            yield backend
        return
    extra_package("ibis", "the watch", "watch")
    extra_package("pyspark", "--engine spark", "spark")
    from potstill.watch.spark import spark_connection

    with temporary_folder() as folder, spark_connection(settings, folder) as backend:
        yield backend
