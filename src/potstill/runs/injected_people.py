"""Accounts of an injected campaign, as a store has them: borrowed, but for what joins them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from potstill.runs.watch_lenders import Lenders
from potstill.simulator.hashing import names
from potstill.simulator.spec import CampaignSpec
from potstill.watch.ingest.secret import StoreKey
from potstill.watch.schema import ACCOUNTS, arrow_schema

Ints = NDArray[np.int64]
# Addresses of an account, and of a network that several share.
_ADDRESSES = 4
# Accounts that signed up for the campaign did so about so many days before it.
_FRESH_DAYS = 6.0


@dataclass(frozen=True)
class InjectedPeople:
    """N accounts: their names, their rows of the table of accounts, and where they ask from.

    `clients_NK` and `networks_NK` hold keyed hashes of addresses and of their networks, None where
    the traffic states none.
    """

    names: pa.Array
    table: pa.Table
    clients_NK: NDArray[np.object_]
    networks_NK: NDArray[np.object_]


@dataclass(frozen=True)
class Peopling:
    """What accounts are made from; `common` has the values of a column that are nobody's own."""

    campaign: CampaignSpec
    lenders: Lenders
    common: Mapping[str, set[str]]
    key: StoreKey
    rng: np.random.Generator
    begins: datetime

    def people(self) -> InjectedPeople:
        """Return the accounts, drawn by the generator."""
        count = self.campaign.accounts
        drawn = self.rng.integers(1, 2**63, size=count).astype(np.uint64)
        relation = self.campaign.relation
        columns = {name: self._lent(name) for name in ("plan", "asn", "country", "timezone")}
        columns["created_at"] = self._opened()
        columns["tenant"] = self._own("tenant", drawn)
        for name, share in (("payment", relation.payment), ("device", relation.device)):
            columns[name], _ = self._shared(name, share, drawn)
        columns["email_domain"], _ = self._shared("email_domain", relation.domain, drawn)
        columns["subnet"], office_N = self._shared("subnet", relation.subnet, drawn)
        columns["account_id"] = names("acct_", drawn).to_pylist()
        schema = arrow_schema(ACCOUNTS)
        table = pa.table({name: pa.array(columns[name], schema.field(name).type)
                          for name in schema.names}, schema)  # fmt: skip
        clients, networks = self._addresses(columns["subnet"], office_N)
        return InjectedPeople(names("acct_", drawn), table, clients, networks)

    def _lent(self, name: str) -> list[Any]:
        found: list[Any] = self.lenders.known[name].to_pylist()
        return found

    def _own(self, name: str, drawn: NDArray[np.uint64]) -> list[str | None]:
        """Return a value of its own for each account whose lender has one.

        Tenants' names are no hashes in a store.
        """
        hashed = self._hasher(name)
        return [
            None
            if lent is None
            else lent
            if lent in self.common.get(name, ())
            else hashed(str(key))
            for lent, key in zip(self._lent(name), drawn, strict=True)
        ]

    def _hasher(self, name: str) -> Callable[[str], str]:
        hashed = self.key.hasher(name)
        return lambda value: hashed(f"injected {value}")

    def _shared(
        self, name: str, share: float, drawn: NDArray[np.uint64]
    ) -> tuple[list[str | None], Ints]:
        """Return a column in which clusters of accounts have one value, and each one's cluster.

        Who has no value (its lender has none) shares none; the cluster is -1 where it is its own.
        """
        values = self._own(name, drawn)
        able = np.array([lent is not None for lent in self._lent(name)], dtype=np.bool_)
        takers = np.flatnonzero(able & (self.rng.random(len(able)) < share))
        cluster_N = np.full(len(able), -1, dtype=np.int64)
        size = self.campaign.relation.cluster
        cluster_N[self.rng.permutation(takers)] = np.arange(len(takers)) // size
        hashed = self._hasher(name)
        salt = int(self.rng.integers(2**62))
        for account in takers:
            values[account] = hashed(f"{salt}/{cluster_N[account]}")
        return values, cluster_N

    def _opened(self) -> list[datetime | None]:
        """Return when accounts were opened: lately, or when their lenders' were."""
        lent, count = self._lent("created_at"), self.campaign.accounts
        days = self.rng.exponential(_FRESH_DAYS, size=count)
        fresh = self.rng.random(count) < self.campaign.look.fresh
        if self.campaign.relation.signup:
            days = self.rng.exponential(_FRESH_DAYS) + self.rng.uniform(0, 1 / 24, size=count)
            fresh = np.ones(count, dtype=np.bool_)
        if all(one is None for one in lent):
            return lent
        return [
            self.begins - timedelta(days=float(ago)) if is_fresh else known
            for ago, is_fresh, known in zip(days, fresh, lent, strict=True)
        ]

    def _addresses(
        self, subnets: list[str | None], office_N: Ints
    ) -> tuple[NDArray[np.object_], NDArray[np.object_]]:
        """Return addresses and networks: a relay's, an office's, the lender's carrier, or own."""
        count, relay = self.campaign.accounts, self.campaign.relation.relay
        many = relay or _ADDRESSES
        client, network = self._hasher("client"), self._hasher("subnet")
        clients = np.empty((count, many), dtype=np.object_)
        networks = np.empty((count, many), dtype=np.object_)
        salt = int(self.rng.integers(2**62))
        row = self.lenders.some_row(self.rng, np.arange(count))
        lent = self.lenders.rows.select(["client", "client_subnet"]).take(pa.array(row)).to_pylist()
        for account, one in enumerate(lent):
            for k in range(many):
                who = "relay" if relay else f"{account}"
                near: str | None = network(f"{salt}/{who}/{k // 8 if relay else 0}")
                if not relay and office_N[account] >= 0:
                    who, near = f"office {office_N[account]}", subnets[account]
                elif not relay and one["client_subnet"] in self.common["client_subnet"]:
                    near = one["client_subnet"]
                clients[account, k] = client(f"{salt}/{who}/{k}") if one["client"] else None
                networks[account, k] = near if one["client_subnet"] else None
        return clients, networks


def begin_of(day: str) -> datetime:
    """Return the first moment of a day."""
    return datetime.fromisoformat(day).replace(tzinfo=UTC)
