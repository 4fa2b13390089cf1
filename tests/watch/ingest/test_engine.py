"""An engine without room says so, and the way out."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("duckdb", reason="traffic is read with the extra `watch`")

import duckdb

from potstill.errors import PotstillError
from potstill.watch.ingest.engine import connect, engine_errors

# More than fits in the memory that is given, and is not found without holding it.
_LARGE = "SELECT count(*) FROM (SELECT DISTINCT random() AS x, random() AS y FROM range(4_000_000))"


def test_a_full_folder_for_temporary_files_is_named(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    backend = connect(spill, memory_mb=64)
    backend.raw_sql("SET max_temp_directory_size='1MB'")
    with (
        pytest.raises(PotstillError, match=rf"{tmp_path}, is full.*set TMPDIR"),
        engine_errors(spill),
    ):
        backend.raw_sql(_LARGE).fetchall()
    backend.disconnect()


def test_an_engine_without_memory_says_so(tmp_path: Path) -> None:
    backend = connect(tmp_path, memory_mb=16)
    backend.raw_sql("SET temp_directory=''")
    with pytest.raises(PotstillError, match="needs more memory"), engine_errors(tmp_path):
        backend.raw_sql(_LARGE).fetchall()
    backend.disconnect()


@pytest.mark.parametrize("said", ["No space left on device", "File too large"])
def test_what_the_system_says_of_a_full_disk_is_known(said: str, tmp_path: Path) -> None:
    with pytest.raises(PotstillError, match="set TMPDIR"), engine_errors(tmp_path):
        raise duckdb.IOException(f'IO Error: Could not write file "x": {said}')


def test_another_error_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(duckdb.ParserException), engine_errors(tmp_path):
        duckdb.connect().execute("no SQL")
