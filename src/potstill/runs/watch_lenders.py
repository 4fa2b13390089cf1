"""What accounts of a store lend to simulated ones: how much they ask, when, and how it looks.

An injected account that looked unlike all others would be found by its looks, and its discovery
would say nothing. So each takes rates, hours, model, software, lengths and what the table of
accounts says from an account that is there, its lender.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import ibis
import ibis.expr.types as ir
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from potstill.errors import PotstillError
from potstill.watch.signals.traffic import Traffic

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# Requests that an account must have made to lend, and rows of it that are looked at.
_LEAST, _ROWS = 5, 200
# What so many accounts have is nobody's own: a mail provider, a carrier, an office.
COMMON = 10
# The most active lenders count as no more than those of this quantile.
_MOST = 0.95
# How many requests' worth all traffic counts in the hours of an account.
_SMOOTHED = 6.0
_EPOCH = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class Lenders:
    """N lenders over D days.

    `asked_ND` are their requests a day, of very active ones fewer. `hours_NH` says in which of the
    24 hours (UTC) they ask, `everybody_H` when all do: shares. `rows` are requests as the store has
    them, lender by lender; those of lender n begin at `first_N[n]` and are `many_N[n]`. `known` is
    the table of accounts, one row a lender, null where it has none.
    """

    names: tuple[str, ...]
    asked_ND: Floats
    hours_NH: Floats
    everybody_H: Floats
    rows: pa.Table
    first_N: Ints
    many_N: Ints
    known: pa.Table

    def __len__(self) -> int:
        return len(self.names)

    def some_row(self, rng: np.random.Generator, lender: Ints) -> Ints:
        """Draw a request of each of some lenders: its place in `rows`."""
        many = self.many_N[lender]
        return self.first_N[lender] + (rng.random(len(lender)) * many).astype(np.int64)


@dataclass(frozen=True)
class Borrowing:
    """From whom may be borrowed: requests on `days`, of `products` where some are named."""

    traffic: Traffic
    days: tuple[str, ...]
    products: tuple[str, ...] = ()

    @property
    def requests(self) -> ir.Table:
        """The requests that are looked at."""
        rows = self.traffic.requests
        numbers = [date.fromisoformat(day).toordinal() - _EPOCH for day in self.days]
        rows = rows.filter(rows.day.isin(numbers))
        return rows.filter(rows.product.isin(self.products)) if self.products else rows

    def able(self) -> tuple[str, ...]:
        """Return the accounts that can lend. Raises PotstillError where none can."""
        rows = self.requests
        each = rows.group_by("account_id").aggregate(n=rows.count())
        found = self.traffic.rows(each.filter(each.n >= _LEAST).select("account_id"))
        names = tuple(sorted(found["account_id"].to_pylist()))
        if not names:
            raise PotstillError(
                f"no account has {_LEAST} requests on these days and of these products, from which "
                "rates and hours could be borrowed; name others"
            )
        return names

    def lenders(self, names: Sequence[str]) -> Lenders:
        """Return what some accounts lend; a name may stand twice."""
        alone = sorted(set(names))
        place = {name: number for number, name in enumerate(alone)}
        mine = self._of(alone)
        asked, hours = self._asked(mine, place), self._hours(mine, place)
        everybody = self._everybody()
        hours = hours + _SMOOTHED * everybody
        rows = self._rows(mine)
        owner = np.asarray(pc.index_in(rows["account_id"], pa.array(alone)), np.int64)
        many = np.bincount(owner, minlength=len(alone))
        order = np.array([place[name] for name in names], dtype=np.int64)
        return Lenders(
            names=tuple(names),
            asked_ND=asked[order],
            hours_NH=(hours / hours.sum(axis=1, keepdims=True))[order],
            everybody_H=everybody,
            rows=rows,
            first_N=(np.cumsum(many) - many)[order],
            many_N=many[order],
            known=self._known(alone).take(pa.array(order)),
        )

    def _of(self, names: Sequence[str]) -> ir.Table:
        table = pa.table({"account_id": pa.array(names, pa.string())})
        lenders = self.traffic.engine.named("potstill_lenders", table)
        return self.requests.semi_join(lenders, "account_id")

    def _asked(self, mine: ir.Table, place: dict[str, int]) -> Floats:
        found = self.traffic.rows(mine.group_by("account_id", "day").aggregate(n=mine.count()))
        asked = np.zeros((len(place), len(self.days)))
        days = {date.fromisoformat(day).toordinal() - _EPOCH: d for d, day in enumerate(self.days)}
        for row in found.to_pylist():
            asked[place[row["account_id"]], days[row["day"]]] = row["n"]
        mean = asked.mean(axis=1)
        most = float(np.quantile(mean, _MOST))
        return np.asarray(asked * np.minimum(1.0, most / mean)[:, None])

    def _hours(self, mine: ir.Table, place: dict[str, int]) -> Floats:
        hour = (mine.second // 3_600).name("hour")
        each = mine.group_by("account_id", hour).aggregate(n=mine.count())
        hours = np.zeros((len(place), 24))
        for row in self.traffic.rows(each).to_pylist():
            hours[place[row["account_id"]], row["hour"]] = row["n"]
        return hours

    def _everybody(self) -> Floats:
        rows = self.requests
        each = rows.group_by((rows.second // 3_600).name("hour")).aggregate(n=rows.count())
        found = self.traffic.rows(each)
        asked_H = np.bincount(np.asarray(found["hour"]), np.asarray(found["n"]), minlength=24)
        return np.asarray(asked_H / asked_H.sum())

    def _rows(self, mine: ir.Table) -> pa.Table:
        """Return up to about two hundred requests of each, spread over the days, in order."""
        one = ibis.window(group_by=mine.account_id, order_by=[mine.micros, mine.request_id])
        every = ibis.window(group_by=mine.account_id)
        numbered = mine.mutate(
            place_=ibis.row_number().over(one), total_=mine.account_id.count().over(every)
        )
        step = ibis.greatest(numbered.total_ // _ROWS, 1)
        kept = numbered.filter(numbered.place_ % step == 0).order_by(
            "account_id", "micros", "request_id"
        )
        return self.traffic.rows(kept)

    def _known(self, names: Sequence[str]) -> pa.Table:
        table = self.traffic.rows(self.traffic.accounts).drop_columns(["party"])
        place = pc.index_in(pa.array(names, pa.string()), table["account_id"].combine_chunks())
        return table.take(place)


def common_values(traffic: Traffic, name: str, *, of_accounts: bool) -> set[str]:
    """Return the values of a column that ten accounts or more have."""
    rows = traffic.accounts if of_accounts else traffic.requests
    there = rows.filter(rows[name].notnull())
    each = there.group_by(value=there[name]).aggregate(n=there.account_id.nunique())
    found = traffic.rows(each.filter(each.n >= COMMON).select("value"))
    return set(found["value"].to_pylist())
