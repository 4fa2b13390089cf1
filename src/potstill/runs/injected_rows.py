"""Requests of an injected campaign, as a store has them, day by day.

What joins them is the simulator's: whose turn it is, which item of a list, which template, what is
asked again. How each looks by itself is borrowed: settings and lengths by template, since who
shares a template shares the software that fills it. Unrelated ones are copies of what others asked.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from potstill.runs.injected_people import InjectedPeople
from potstill.runs.watch_lenders import Lenders
from potstill.simulator import columns, rows, world
from potstill.simulator.covers import COVERS, hour_shares
from potstill.simulator.hashing import names
from potstill.simulator.people import DAY_S, PLACES, People
from potstill.simulator.spec import CampaignSpec, WorldSpec
from potstill.watch.ingest.rows import Privacy, sketch_columns, store_schema
from potstill.watch.ingest.secret import StoreKey

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
# What a client hard-codes beside its template, and what comes out otherwise each time: both of one
# account of the traffic for each template.
_SETTINGS = ("model", "product", "temperature", "max_tokens", "stream", "tools")
_EACH_TIME = ("prompt_tokens", "completion_tokens", "latency_s")
_TEXTS = ("system", "prompt", "messages", "response")
# Spare requests of the world that lends the relation, of which nothing is taken.
_SPARE = 20_000


@dataclass(frozen=True)
class InjectedRows:
    """What an injected campaign's requests are made from.

    `cover` lends the unrelated ones: to each account those of `per_account` lenders. `there` names
    the columns that the traffic has. `source` is the digest that the rows are stored under.
    """

    campaign: CampaignSpec
    days: tuple[str, ...]
    lenders: Lenders
    cover: Lenders
    people: InjectedPeople
    there: frozenset[str]
    privacy: Privacy
    key: StoreKey
    source: str
    seed: int

    def tables(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield the requests of each day that has some."""
        made = world.built(self._spec())
        part, shape = made.parts[0], _Shape.of(self, made)
        rng = np.random.default_rng([self.seed, 2])
        weight_ND = self.lenders.asked_ND / self.lenders.asked_ND.mean()
        dealt, number = 0, 0
        for place, day in enumerate(self.days):
            ordinal = date.fromisoformat(day).toordinal() - _monday(self.days[0]).toordinal()
            weekday = rows.day_weight(COVERS[self.campaign.look.cover], ordinal)
            who = dataclasses.replace(part.who, weight=weight_ND[:, place] / weekday)
            related_N, unrelated_N = rows.counts(rng, part.group, who, ordinal)
            found = []
            if related_N.any():
                asked = rows.related(
                    rng, part.group, part.key, who, part.first, related_N, ordinal, part.own,
                    part.shared, dealt,
                )  # fmt: skip
                dealt += int(related_N.sum())
                moved = dataclasses.replace(asked, second=shape.moved(asked, part.first))
                found.append(self._related(made, moved, part.first, ordinal, number, rng))
            if unrelated_N.any():
                found.append(self._unrelated(unrelated_N, shape, day, rng))
            if found:
                table = pa.concat_tables(found).sort_by(
                    [("time", "ascending"), ("request_id", "ascending")]
                )
                numbers = pa.array(np.arange(number + 1, number + 1 + table.num_rows))
                number += table.num_rows
                at = table.column_names.index("row")
                yield day, table.set_column(at, table.schema.field("row"), numbers)

    def _spec(self) -> WorldSpec:
        """Return a world with this campaign alone, from whose Monday its days are counted."""
        first = _monday(self.days[0])
        days = (date.fromisoformat(self.days[-1]) - first).days + 1
        volume = self.campaign.accounts * self.campaign.look.rate * days
        return WorldSpec(
            seed=self.seed, requests=int(2 * volume) + _SPARE, days=days, start=first.isoformat(),
            awkward_share=0.0, campaigns=(self.campaign,), kinds=(), matched_accounts=0.0,
        )  # fmt: skip

    def _related(
        self, made: world.World, asked: rows.Rows, first: int, ordinal: int, number: int,
        rng: np.random.Generator,
    ) -> pa.Table:  # fmt: skip
        said, _ = columns.request_tables(made, asked, ordinal, number)
        account_N = asked.account.astype(np.int64) - first
        lender_N, settings_N = self._of_template(made.parts[0], asked)
        lent = self.lenders.rows.take(pa.array(self.lenders.some_row(rng, lender_N)))
        hard_coded = self.lenders.rows.take(pa.array(settings_N))
        clients = self.lenders.rows.take(pa.array(self.lenders.some_row(rng, account_N)))
        status = np.asarray(lent["status"].fill_null(0), np.int64)
        refused = np.isin(asked.status, (rows.REFUSED, rows.REVOKED)) & (status > 0)
        status = np.where(refused, asked.status, status)
        failed = status >= 400
        found = {name: lent[name].combine_chunks() for name in _EACH_TIME}
        there = [name for name in _SETTINGS if name in hard_coded.column_names]
        found |= {name: hard_coded[name].combine_chunks() for name in there}
        found["user_agent"] = clients["user_agent"].combine_chunks()
        for name in ("prompt_tokens", "completion_tokens"):
            found[name] = pc.if_else(
                pa.array(refused), pa.scalar(None, found[name].type), found[name]
            )
        found["status"] = pa.array(status.astype(np.int32), mask=status == 0)
        found |= {
            "request_id": said["request_id"].combine_chunks(),
            "account_id": self.people.names.take(pa.array(account_N)),
            "time": said["time"].combine_chunks(),
        }
        texts = {name: self._text(said, name) for name in _TEXTS}
        texts["response"] = pc.if_else(pa.array(failed), None, _filled(texts["response"]))
        found |= texts | self._client(account_N, rng) | self._made_of(texts)
        return self._as_stored(found, len(account_N))

    def _of_template(self, part: world.WorldPart, asked: rows.Rows) -> tuple[Ints, Ints]:
        """Return who lends to each request's template, and which of its requests the settings."""
        shared = len(part.shared)
        rng = np.random.default_rng([self.seed, 3])
        many = shared or len(self.lenders)
        # An account with a template of its own has the settings of its own lender.
        lender_F = rng.integers(0, len(self.lenders), size=many) if shared else np.arange(many)
        settings_F = self.lenders.some_row(rng, lender_F)
        numbers = part.shared if shared else part.own
        family_N = np.searchsorted(numbers, asked.family) % many
        return lender_F[family_N], settings_F[family_N]

    def _text(self, said: pa.Table, name: str) -> pa.Array:
        """Return a text, where the traffic has such; a store without texts tells by their hash."""
        told = {"system": "system_hash", "prompt": "prompt_chars", "response": "response_chars"}
        if name in self.there or told.get(name) in self.there:
            return said[name].combine_chunks()
        return pa.nulls(said.num_rows, pa.string())

    def _made_of(self, texts: dict[str, pa.Array]) -> dict[str, pa.Array]:
        made = {f"{name}_chars": pc.utf8_length(texts[name]) for name in ("prompt", "response")}
        if self.privacy != "metadata":
            made |= sketch_columns(texts, self.key.subkey("sketch", 16))
        return made

    def _unrelated(
        self, asked_N: Ints, shape: _Shape, day: str, rng: np.random.Generator
    ) -> pa.Table:
        account_N = np.repeat(np.arange(len(asked_N)), asked_N)
        each = len(self.cover) // len(self.lenders)
        lender = account_N * each + rng.integers(0, each, size=len(account_N))
        lent = self.cover.rows.take(pa.array(self.cover.some_row(rng, lender)))
        second = shape.drawn(account_N, rng)
        midnight = (date.fromisoformat(day) - date(1970, 1, 1)).days * DAY_S
        moments = pa.array(((midnight + second) * 1e6).astype(np.int64))
        drawn = rng.integers(1, 2**63, size=len(account_N)).astype(np.uint64)
        found = {name: lent[name].combine_chunks() for name in lent.column_names} | {
            "request_id": names("req_", drawn),
            "account_id": self.people.names.take(pa.array(account_N)),
            "time": moments.cast(pa.timestamp("us", tz="UTC")),
        }
        return self._as_stored(found | self._client(account_N, rng), len(account_N))

    def _client(self, account_N: Ints, rng: np.random.Generator) -> dict[str, pa.Array]:
        k = rng.integers(0, self.people.clients_NK.shape[1], size=len(account_N))
        return {
            "client": pa.array(self.people.clients_NK[account_N, k], pa.string()),
            "client_subnet": pa.array(self.people.networks_NK[account_N, k], pa.string()),
        }

    def _as_stored(self, found: dict[str, pa.Array], count: int) -> pa.Table:
        schema = store_schema(self.privacy)
        found |= {"source": pa.repeat(self.source[:16], count), "row": pa.array(np.zeros(count))}
        return pa.table(
            [found.get(name, pa.nulls(count)).cast(schema.field(name).type)
             for name in schema.names], schema,
        )  # fmt: skip


@dataclass(frozen=True)
class _Shape:
    """From the simulator's hours to the traffic's own: a moment keeps its place among a day's.

    Accounts whose moments mean nothing to one another follow each its lender's hours; those that
    act together follow, together, the hours of all traffic, so that they still act together.
    """

    made_NH: Floats
    own_NH: Floats

    @classmethod
    def of(cls, injected: InjectedRows, made: world.World) -> _Shape:
        relation, part = injected.campaign.relation, made.parts[0]
        made_NH = _hours(injected.campaign, part.who)
        own_NH = injected.lenders.hours_NH
        if relation.ticks or relation.turns or relation.handoff:
            # Common moments are drawn over the hours of the first account.
            together = made_NH[:1] if relation.ticks else made_NH.mean(axis=0, keepdims=True)
            made_NH = np.repeat(together, len(made_NH), axis=0)
            own_NH = np.repeat(injected.lenders.everybody_H[None], len(made_NH), axis=0)
        return cls(made_NH, own_NH)

    def moved(self, asked: rows.Rows, first: int) -> Floats:
        """Return the seconds of a day at which requests are made."""
        account_N = asked.account.astype(np.int64) - first
        hour = (asked.second // 3_600).astype(np.int64)
        before = np.cumsum(self.made_NH, axis=1) - self.made_NH
        share = self.made_NH[account_N, hour]
        place = before[account_N, hour] + share * (asked.second % 3_600) / 3_600
        return self._at(account_N, place)

    def drawn(self, account_N: Ints, rng: np.random.Generator) -> Floats:
        """Draw seconds by the hours of each account's lender."""
        return self._at(account_N, rng.random(len(account_N)))

    def _at(self, account_N: Ints, place: Floats) -> Floats:
        """Return the second before which a share `place` of an account's day lies."""
        ends = np.cumsum(self.own_NH, axis=1)
        hour = np.minimum((place[:, None] >= ends[account_N]).sum(axis=1), 23)
        share = self.own_NH[account_N, hour]
        within = (place - (ends[account_N, hour] - share)) / np.maximum(share, 1e-12)
        second = (hour + np.clip(within, 0, 1)) * 3_600
        return np.asarray(np.minimum(second, DAY_S - 1e-3))


def _hours(campaign: CampaignSpec, who: People) -> Floats:
    """Return in which hours (UTC) the simulator lets each account ask, as shares [N, 24]."""
    local = hour_shares(COVERS[campaign.look.cover].day)
    offset = np.array([place[2] for place in PLACES])[who.place]
    hours = local[(np.arange(24)[None] + offset[:, None]) % 24]
    return np.asarray(np.where(who.flat[:, None], 1 / 24, hours))


def _filled(texts: pa.Array) -> pa.Array:
    """Return texts with one that is there in the place of each that is not."""
    there = np.flatnonzero(np.asarray(texts.is_valid()))
    if not len(there):
        return texts
    place = np.arange(len(texts))
    gaps = np.asarray(texts.is_null())
    place[gaps] = there[place[gaps] % len(there)]
    return texts.take(pa.array(place))


def _monday(day: str) -> date:
    found = date.fromisoformat(day)
    return found - timedelta(days=found.weekday())
