"""A store's traffic as tables of Ibis: requests with their party, and the parties.

A *party* is a declared tenant with all of its accounts, or an account that has none: what stands
under one contract is one party, and no campaign.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from potstill.durable import temporary_folder
from potstill.errors import PotstillError
from potstill.watch.engines import TrafficEngine, engine_of
from potstill.watch.ingest.store import ACCOUNTS_FILE, TrafficStore
from potstill.watch.schema import ACCOUNT, ACCOUNTS, TENANT, arrow_schema, names_of, switched_off

if TYPE_CHECKING:
    from ibis.backends.sql import SQLBackend

DAY_US = 86_400_000_000
_BATCH_ROWS = 1 << 16
# More than any file has.
_ROWS_A_SOURCE = 1 << 40


@dataclass(frozen=True)
class Traffic:
    """What signals read. `off` names the signals that are off, each with what it lacks.

    Each request has a `number` of its own, by its source and its row there.
    """

    engine: TrafficEngine
    requests: ir.Table
    accounts: ir.Table
    days: tuple[str, ...]
    off: dict[str, tuple[str, ...]]

    def rows(self, expression: ir.Table) -> pa.Table:
        """Return an expression's rows."""
        return self.engine.rows(expression)

    def batches(self, expression: ir.Table) -> Iterator[pa.RecordBatch]:
        """Yield an expression's rows as they are found; nothing else can be asked meanwhile."""
        yield from self.engine.batches(expression, _BATCH_ROWS)

    def by_group(self, expression: ir.Table) -> Iterator[tuple[int, pa.Table]]:
        """Yield an expression's rows, which are sorted by `group`, group by group.

        They lie in a file meanwhile, so that the engine can be asked for more in between.
        """
        held: list[pa.RecordBatch] = []
        for batch in self._spooled(expression):
            group = np.asarray(batch.column("group"))
            edges = [0, *(np.flatnonzero(np.diff(group)) + 1).tolist(), len(group)]
            for first, last in itertools.pairwise(edges):
                if held and held[-1].column("group")[0].as_py() != group[first]:
                    yield _group_of(held)
                    held = []
                held.append(batch.slice(first, last - first))
        if held:
            yield _group_of(held)

    def _spooled(self, expression: ir.Table) -> Iterator[pa.RecordBatch]:
        packed = pa.ipc.IpcWriteOptions(compression="lz4")
        with temporary_folder() as folder:
            path = str(folder / "rows.arrow")
            with pa.OSFile(path, "wb") as file:
                writer: pa.RecordBatchWriter | None = None
                for batch in self.batches(expression):
                    writer = writer or pa.ipc.new_stream(file, batch.schema, options=packed)
                    writer.write_batch(batch)
                if writer is None:
                    return
                writer.close()
            with pa.OSFile(path, "rb") as file, pa.ipc.open_stream(file) as reader:
                yield from reader

    def without(self, accounts: Collection[str]) -> Traffic:
        """Return the traffic without that of some accounts, as if they were not there."""
        if not accounts:
            return self
        names = sorted(accounts)
        return replace(
            self,
            requests=self.requests.filter(self.requests.account_id.notin(names)),
            accounts=self.accounts.filter(self.accounts.account_id.notin(names)),
        )

    def is_on(self, signal: str) -> bool:
        """Tell whether a signal has its columns."""
        return signal not in self.off


def _group_of(batches: list[pa.RecordBatch]) -> tuple[int, pa.Table]:
    return batches[0].column("group")[0].as_py(), pa.Table.from_batches(batches)


def traffic_of(
    store: TrafficStore,
    backend: SQLBackend,
    days: Sequence[str] | None = None,
    table: pa.Table | None = None,
) -> Traffic:
    """Return the traffic of a store, or of some days; `table` are its accounts, else the store's.

    There is one at a time: its tables take the place of those of an earlier one. Raises
    PotstillError for a store without requests.
    """
    parts = store.parts(days)
    if not parts:
        raise PotstillError(
            f"{store.root} holds no requests; take logs in with `potstill watch ingest`"
        )
    engine = engine_of(backend)
    accounts = accounts_of(store) if table is None else table
    known = engine.named("potstill_accounts", accounts)
    requests = engine.parquet("potstill_requests", parts)
    names = sorted(digest[:16] for digest in store.ingested.sources)
    sources = pa.table({"source": pa.array(names, pa.string()), "first": range(len(names))})
    numbered = requests.inner_join(engine.named("potstill_sources", sources), "source")
    numbered = numbered.mutate(number=numbered["first"] * _ROWS_A_SOURCE + numbered.row).drop(
        "first"
    )
    party = ibis.coalesce(TENANT + known.tenant, ACCOUNT + known.account_id)
    named = known.select("account_id", "timezone", party=party)
    joined = numbered.left_join(named, "account_id").drop("account_id_right")
    # Moments as microseconds since 1970, which every engine divides alike.
    joined = joined.mutate(
        party=ibis.coalesce(joined.party, ACCOUNT + joined.account_id),
        micros=engine.micros(joined.time),
    )
    joined = joined.mutate(
        day=(joined.micros // DAY_US).cast("int32"),
        second=((joined.micros // 1_000_000) % 86_400).cast("int32"),
    )
    there = _there(parts)
    filled = {name for name in accounts.column_names if accounts[name].null_count < len(accounts)}
    off = switched_off(there, filled)
    for signal in ("reasoning elicitation", "rubric and reward prompts"):
        if "prompt" not in requests.columns and signal not in off:
            off[signal] = ("the prompts' text, which only --privacy full keeps",)
    there_days = store.days() if days is None else tuple(days)
    known = known.mutate(party=party, opened=engine.micros(known.created_at))
    return Traffic(engine, joined, known, there_days, off)


def members_table(traffic: Traffic, groups: Iterable[Iterable[str]], name: str) -> ir.Table:
    """Return a table of the parties of groups: `group` is a group's place."""
    rows = [(place, party) for place, parties in enumerate(groups) for party in sorted(parties)]
    table = pa.table(
        {
            "group": pa.array([place for place, _ in rows], pa.int32()),
            "party": pa.array([party for _, party in rows], pa.string()),
        }
    )
    return traffic.engine.named(name, table)


def of_groups(traffic: Traffic, asked: ir.Table, groups: Sequence[int], name: str) -> ir.Table:
    """Return those rows of `asked` whose `group` is one of some; a table of that name is made."""
    table = pa.table({"group": pa.array(groups, pa.int32())})
    return asked.semi_join(traffic.engine.named(name, table), "group")


def accounts_of(store: TrafficStore) -> pa.Table:
    """Return a store's table of accounts, without rows where it has none."""
    path = store.root / ACCOUNTS_FILE
    if not path.is_file():
        return arrow_schema(ACCOUNTS).empty_table()
    return pq.read_table(path).select(names_of(ACCOUNTS))


def _there(parts: Sequence[Path]) -> set[str]:
    """Return which columns hold something; a sketch or a hash stands for the text it is of.

    The ends of the files say so, without their rows.
    """
    filled: set[str] = set()
    for part in parts:
        about = pq.read_metadata(part)
        for number in range(about.num_row_groups):
            group = about.row_group(number)
            for place in range(group.num_columns):
                column = group.column(place)
                said = column.statistics
                known = said is not None and said.has_null_count
                if not known or said.null_count < column.num_values:
                    filled.add(column.path_in_schema.partition(".")[0])
    for made, column_of in (("prompt_hash", "prompt"), ("system_hash", "system")):
        if made in filled:
            filled.add(column_of)
    return filled
