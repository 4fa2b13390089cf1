"""Rows that repeat a request of the same account on the same day: one of them stands.

Which one depends on what they say alone, never on the order in which files came: the one that says
most, then the first by a digest of its content, then by source and row.
"""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend

from potstill.watch.ingest.parts import part_writer

_OWN = ("source", "row")  # what says where a row is from, and nothing of what it says
_ROWS = 2048


def losing_rows(backend: Backend, parts: Sequence[Path]) -> dict[Path, set[tuple[str, int]]]:
    """Return the rows (source, row) of a day's parts that repeat another, by part."""
    files = _list(parts)
    same = (
        "SELECT hash(account_id, request_id) AS h FROM read_parquet("
        f"{files}, hive_partitioning = false) GROUP BY h HAVING count(*) > 1"
    )
    if not backend.con.execute(f"SELECT 1 FROM ({same}) LIMIT 1").fetchall():
        return {}
    names = [name for name in pq.read_schema(parts[0]).names if name not in _OWN]
    missing = " + ".join(f'("{name}" IS NULL)::INT' for name in names)
    content = ", ".join(f"""coalesce("{name}"::VARCHAR, '\\N')""" for name in names)
    # Groups come by a hash first, so that no key of every row is held.
    sql = f"""
        SELECT filename, source, "row" FROM (
            SELECT filename, source, "row", row_number() OVER (
                PARTITION BY account_id, request_id
                ORDER BY {missing}, md5(concat_ws(chr(31), {content})), source, "row") AS n
            FROM read_parquet({files}, filename = true, hive_partitioning = false)
            WHERE hash(account_id, request_id) IN ({same}))
        WHERE n > 1"""
    found: dict[Path, set[tuple[str, int]]] = {}
    for name, source, row in backend.con.execute(sql).fetchall():
        found.setdefault(Path(name), set()).add((source, row))
    return found


def without_rows(part: Path, final: Path, gone: set[tuple[str, int]]) -> int:
    """Write a part without some rows, and return how many it has."""
    numbers = pa.array(sorted({row for _, row in gone}), pa.int64())
    return _filtered(part, final, lambda batch: pc_not_in(batch, numbers))


def without_account(part: Path, final: Path, account: str) -> int | None:
    """Write a part without the rows of an account; return how many it has, None where it has none
    of the account's."""
    with pq.ParquetFile(part) as file:
        there = any(
            account in batch.column(0).unique().to_pylist()
            for batch in file.iter_batches(columns=["account_id"])
        )
    if not there:
        return None
    import pyarrow.compute as pc

    return _filtered(part, final, lambda batch: pc.not_equal(batch.column("account_id"), account))


def pc_not_in(batch: pa.RecordBatch, numbers: pa.Array) -> pa.Array:
    """Tell which rows of a batch have none of the numbers; a part is of one source."""
    import pyarrow.compute as pc

    return pc.invert(pc.is_in(batch.column("row"), numbers))


def _filtered(part: Path, final: Path, keep) -> int:  # type: ignore[no-untyped-def]
    rows = 0
    with pq.ParquetFile(part) as file, part_writer(final, file.schema_arrow) as writer:
        for batch in file.iter_batches(batch_size=_ROWS * 8):
            kept = batch.filter(keep(batch))
            rows += kept.num_rows
            if kept.num_rows:
                writer.write_batch(kept)
    return rows


def _list(parts: Sequence[Path]) -> str:
    quoted = ", ".join("'" + escape(str(part)).replace("'", "''") + "'" for part in parts)
    return f"[{quoted}]"
