"""What of a store's days is kept to see whether they have changed, and who was active on them.

A day is told by its rows, whatever files they lie in and in whatever order: two sums of MD5 over
what signals read of each row. It is read again only where its files are others than before.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from glob import escape
from importlib.metadata import version
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend
from pydantic import Field, ValidationError

from potstill.canonical import canonical_json, digest_of
from potstill.durable import write_bytes
from potstill.watch.days.daylog import ACTIVE_FOLDER, DAYS_FOLDER, MARKS_FILE
from potstill.watch.evidence import FoundPart
from potstill.watch.ingest.parts import put_table
from potstill.watch.ingest.store import TrafficStore
from potstill.watch.schema import ACCOUNTS, arrow_schema
from potstill.watch.signals.traffic import accounts_of

# What no signal reads of a request: where it came from, and texts that others stand for.
_UNREAD = ("source", "row", "system", "messages", "response", "tools")
# What is read of an account: other columns change nothing.
_OF_ACCOUNTS = (
    "account_id", "created_at", "payment", "email_domain", "device", "subnet", "timezone", "tenant",
)  # fmt: skip
_SUMS = "sum(md5_number_lower(said))::VARCHAR AS low, sum(md5_number_upper(said))::VARCHAR AS high"


class PartSeen(FoundPart):
    """A file of the store as it was when it was read: another one of its name is another file."""

    name: str
    size: int
    changed_ns: int


class DayMark(FoundPart):
    """A day as it was read: its files, and the digest of its rows."""

    files: tuple[PartSeen, ...]
    rows: str


class DayMarks(FoundPart):
    """All days that were read, by the version of potstill that read them."""

    potstill: str
    days: dict[str, DayMark] = Field(default_factory=dict)


def marked_days(store: TrafficStore, backend: Backend) -> dict[str, str]:
    """Return the digest of the rows of each day of a store; days whose files changed are read.

    Who was active on a day is kept beside it.
    """
    marks = _read(store.root)
    seen = {day: _seen(store.parts([day])) for day in store.days()}
    kept = {
        day: mark
        for day, mark in marks.days.items()
        if seen.get(day) == mark.files and _can_be_read(active_path(store.root, day))
    }
    for day in sorted(set(seen) - set(kept)):
        kept[day] = DayMark(files=seen[day], rows=_digested(store, backend, day))
    now = DayMarks(potstill=marks.potstill, days=dict(sorted(kept.items())))
    if now != marks:
        data = canonical_json(now.model_dump(mode="json"))
        write_bytes(store.root / DAYS_FOLDER / MARKS_FILE, data, store.way_out)
    return {day: kept[day].rows for day in sorted(seen)}


def active_path(root: Path, day: str) -> Path:
    """Return the file of who was active on a day: `account_id`, `requests`."""
    return root / DAYS_FOLDER / ACTIVE_FOLDER / f"{day}.parquet"


def active_accounts(store: TrafficStore, days: Sequence[str]) -> pa.Table:
    """Return who was active on some days: `day`, `account_id`, `requests`."""
    found = []
    for day in days:
        rows = pq.read_table(active_path(store.root, day))
        found.append(rows.add_column(0, "day", pa.repeat(day, rows.num_rows)))
    return pa.concat_tables(found)


def accounts_active(store: TrafficStore, days: Sequence[str], table: pa.Table) -> pa.Table:
    """Return the rows of the store's table of accounts that made a request on some days."""
    names = active_accounts(store, days)["account_id"].unique()
    return table.filter(pc.is_in(table["account_id"], names))


def chains(
    store: TrafficStore,
    backend: Backend,
    rows: Mapping[str, str],
    allowed: Collection[str],
    method: str,
) -> dict[str, str]:
    """Return a digest for each day of all that its line is made of: what it and the days before
    it hold, their accounts, who is let be, and how groups are chosen and tested."""
    people = _people(store, backend, tuple(rows), allowed)
    chain = digest_of([method, version("potstill"), store.config.privacy])
    found = {}
    for day, digest in rows.items():
        chain = digest_of([chain, day, digest, people[day]])
        found[day] = chain
    return found


def _people(
    store: TrafficStore, backend: Backend, days: Sequence[str], allowed: Collection[str]
) -> dict[str, str]:
    """Return the digest of what is known of the accounts that were active on each day."""
    tables = {
        "active": active_accounts(store, days) if days else None,
        "known": accounts_of(store),
        "let_be": pa.table({"account_id": pa.array(sorted(allowed), pa.string())}),
    }
    if tables["active"] is None:
        return {}
    for name, table in tables.items():
        backend.create_table(f"ps_days_{name}", table, temp=True, overwrite=True)
    said = _said(_OF_ACCOUNTS, arrow_schema(ACCOUNTS), "k")
    sql = (
        f"SELECT day, {_SUMS} FROM (SELECT a.day, concat({said}, '|', a.account_id, '|',"
        " l.account_id IS NOT NULL) AS said FROM ps_days_active a"
        " LEFT JOIN ps_days_known k USING (account_id)"
        " LEFT JOIN ps_days_let_be l USING (account_id)) GROUP BY day"
    )
    return {day: f"{low}:{high}" for day, low, high in backend.con.execute(sql).fetchall()}


def _digested(store: TrafficStore, backend: Backend, day: str) -> str:
    parts = store.parts([day])
    schema = pq.read_schema(parts[0])
    said = _said([name for name in schema.names if name not in _UNREAD], schema, "r")
    # DuckDB takes every path that it reads for a pattern.
    rows = backend.read_parquet([escape(str(part)) for part in parts], table_name="ps_days_rows")
    sums = backend.con.execute(
        f"SELECT count(*), {_SUMS} FROM (SELECT {said} AS said FROM ps_days_rows r)"
    ).fetchall()
    each = rows.group_by("account_id").aggregate(requests=rows.count()).order_by("account_id")
    put_table(active_path(store.root, day), backend.to_pyarrow(each))
    return digest_of([list(one) for one in sums])


def _said(names: Sequence[str], schema: pa.Schema, table: str) -> str:
    """Return what makes one text of a row's columns; texts come after their length."""
    parts = []
    for name in names:
        column = f'{table}."{name}"'
        kind = schema.field(name).type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            parts.append(f"coalesce(length({column})::VARCHAR || ':' || {column}, '-')")
        elif pa.types.is_timestamp(kind):
            parts.append(f"coalesce(epoch_us({column})::VARCHAR, '-')")
        else:
            parts.append(f"coalesce({column}::VARCHAR, '-')")
    return "concat_ws('|', " + ", ".join(parts) + ")"


def _can_be_read(path: Path) -> bool:
    try:
        pq.read_table(path)
    except (OSError, pa.ArrowException):
        return False
    return True


def _seen(parts: Sequence[Path]) -> tuple[PartSeen, ...]:
    found = []
    for part in parts:
        there = part.stat()
        found.append(PartSeen(name=part.name, size=there.st_size, changed_ns=there.st_mtime_ns))
    return tuple(found)


def _read(root: Path) -> DayMarks:
    """Return what was kept of days; what another version kept, or damage left, counts as none."""
    mine = DayMarks(potstill=version("potstill"))
    try:
        found = DayMarks.model_validate_json((root / DAYS_FOLDER / MARKS_FILE).read_bytes())
    except (FileNotFoundError, ValidationError):
        return mine
    return found if found.potstill == mine.potstill else mine
