"""A store's traffic as tables of Ibis: requests with their party, and the parties.

A *party* is a declared tenant with all of its accounts, or an account that has none: what stands
under one contract is one party, and no campaign.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from glob import escape
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.parquet as pq
from ibis.backends.duckdb import Backend

from potstill.errors import PotstillError
from potstill.watch.ingest.engine import micros_of
from potstill.watch.ingest.store import ACCOUNTS_FILE, TrafficStore
from potstill.watch.schema import ACCOUNTS, arrow_schema, names_of, switched_off

DAY_US = 86_400_000_000
_TENANT, _ACCOUNT = "t:", "a:"


# Signals that a store has the columns of, and that no group is tested on yet.
NOT_BUILT = (
    "coverage growth",
    "window shift",
    "no idle hours",
    "pivot to a new model",
    "output appetite",
)
LATER = "a later version of potstill"


@dataclass(frozen=True)
class Traffic:
    """What signals read. `off` names the signals that are off, each with what it lacks."""

    backend: Backend
    requests: ir.Table
    accounts: ir.Table
    days: tuple[str, ...]
    off: dict[str, tuple[str, ...]]

    def rows(self, expression: ir.Table) -> pa.Table:
        """Return an expression's rows."""
        found: pa.Table = self.backend.to_pyarrow(expression)
        return found

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


def traffic_of(
    store: TrafficStore,
    backend: Backend,
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
    accounts = accounts_of(store) if table is None else table
    backend.create_table("potstill_accounts", accounts, temp=True, overwrite=True)
    known = backend.table("potstill_accounts")
    requests = backend.read_parquet(
        [escape(str(part)) for part in parts], table_name="potstill_requests"
    )
    party = ibis.coalesce(_TENANT + known.tenant, _ACCOUNT + known.account_id)
    named = known.select("account_id", "timezone", party=party)
    joined = requests.left_join(named, "account_id").drop("account_id_right")
    # Moments as microseconds since 1970, which every engine divides alike.
    joined = joined.mutate(
        party=ibis.coalesce(joined.party, _ACCOUNT + joined.account_id),
        micros=micros_of(joined.time),
    )
    joined = joined.mutate(
        day=(joined.micros // DAY_US).cast("int32"),
        second=((joined.micros // 1_000_000) % 86_400).cast("int32"),
    )
    there = _there(requests)
    filled = {name for name in accounts.column_names if accounts[name].null_count < len(accounts)}
    off = switched_off(there, filled)
    for signal in ("reasoning elicitation", "rubric and reward prompts"):
        if "prompt" not in requests.columns and signal not in off:
            off[signal] = ("the prompts' text, which only --privacy full keeps",)
    off |= dict.fromkeys(NOT_BUILT, (LATER,))
    there_days = store.days() if days is None else tuple(days)
    return Traffic(backend, joined, known.mutate(party=party), there_days, off)


def members_table(traffic: Traffic, groups: Iterable[Iterable[str]], name: str) -> ir.Table:
    """Return a table of the parties of groups: `group` is a group's place."""
    rows = [(place, party) for place, parties in enumerate(groups) for party in sorted(parties)]
    table = pa.table(
        {
            "group": pa.array([place for place, _ in rows], pa.int32()),
            "party": pa.array([party for _, party in rows], pa.string()),
        }
    )
    traffic.backend.create_table(name, table, temp=True, overwrite=True)
    return traffic.backend.table(name)


def accounts_of(store: TrafficStore) -> pa.Table:
    """Return a store's table of accounts, without rows where it has none."""
    path = store.root / ACCOUNTS_FILE
    if not path.is_file():
        return arrow_schema(ACCOUNTS).empty_table()
    return pq.read_table(path).select(names_of(ACCOUNTS))


def _there(requests: ir.Table) -> set[str]:
    """Return which columns hold something; a sketch or a hash stands for the text it is of."""
    names = [name for name in requests.columns if name not in ("day",)]
    counts: Any = requests.aggregate([requests[name].count().name(name) for name in names])
    row = counts.to_pyarrow().to_pylist()[0]
    filled = {name for name in names if row[name]}
    for made, column in (("prompt_hash", "prompt"), ("system_hash", "system")):
        if made in filled:
            filled.add(column)
    return filled
