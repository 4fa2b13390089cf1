"""What tests of the watch share: an engine, a store, and what it holds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ibis", reason="traffic is read with the extra `watch`")
sys.path.append(str(Path(__file__).parent))

from traffic_logs import NOW, Ingest

from potstill.runs.watching import IngestReport, LogWanted, ingest_log
from potstill.watch.ingest.engine import connect


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return a connection; tests use it one after the other."""
    backend = connect(tmp_path_factory.mktemp("engine"))
    yield backend
    backend.disconnect()


@pytest.fixture
def ingest(tmp_path: Path) -> Ingest:
    """Return a function that takes logs into `tmp_path / "store"`."""

    def _ingest(
        *logs: Path, privacy: str | None = "full", into: str = "store", **wanted: Any
    ) -> IngestReport:
        log = LogWanted(tuple(map(str, logs)), now=NOW, **wanted)
        return ingest_log(log, tmp_path / into, privacy)

    return _ingest
