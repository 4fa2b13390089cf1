"""Simulated campaigns put into a copy of a store, and whether a search of the copy names them."""

from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from potstill.canonical import digest_of
from potstill.durable import remove_leftovers_of, replaced_directory, write_errors
from potstill.errors import PotstillError
from potstill.extras import extra_package
from potstill.runs.watch_finding import find_in, require_level
from potstill.runs.watch_inject_wanted import (
    InjectWanted,
    mechanisms,
    require_free,
    require_injectable,
)
from potstill.runs.watch_injected import InjectedCampaign, InjectedCampaigns
from potstill.runs.watch_truth import (
    CampaignOutcome,
    HiddenCampaign,
    NamedGroup,
    false_groups,
    outcomes,
)
from potstill.runs.watching import open_store, told_damage, traffic_engine
from potstill.text.counts import many

if TYPE_CHECKING:
    from potstill.runs.injected_rows import InjectedRows
    from potstill.runs.watch_lenders import Borrowing
    from potstill.simulator.spec import CampaignSpec
    from potstill.watch.evidence import CampaignsFound
    from potstill.watch.ingest.store import TrafficStore

# Which accounts lend their requests to one that asks for unrelated things too.
_COVER_LENDERS = 5
# Columns whose values may be nobody's own, and whether they are of the table of accounts.
_MAY_BE_COMMON = {"client_subnet": False, "email_domain": True, "subnet": True}
# Beyond this share of the requests a campaign is most of what it is compared with.
_MUCH = 0.1
_ELSEWHERE = "name another directory with --into"


@dataclass(frozen=True)
class PutIn:
    """What was put into a copy: the campaigns, their requests, and what to know of them."""

    hidden: tuple[HiddenCampaign, ...]
    requests: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class InjectReport:
    """What became of what was injected; `others` are campaigns that are not of it."""

    into: Path
    requests: int
    days: tuple[str, ...]
    campaigns: tuple[CampaignOutcome, ...]
    others: int
    off: dict[str, tuple[str, ...]]
    notes: tuple[str, ...]

    @property
    def missed(self) -> int:
        """How many were not named."""
        return sum(not one.named for one in self.campaigns)


def inject(wanted: InjectWanted, tell: Callable[[str], None] = lambda line: None) -> InjectReport:
    """Copy a store, put campaigns into the copy, search it, and return what was named.

    Raises PotstillError as `injected_copy` does.
    """
    require_level(wanted.level)
    put = injected_copy(wanted, tell)
    tell(f"searching {wanted.into}")
    return _report(wanted, find_in(wanted.into, wanted.level, wanted.key), put)


def injected_copy(wanted: InjectWanted, tell: Callable[[str], None] = lambda line: None) -> PutIn:
    """Copy a store, and put campaigns into the copy, which appears whole or not at all.

    The store itself is only read. Raises PotstillError where there is none, where the place of the
    copy holds something, and for what no campaign can be made of.
    """
    require_injectable(wanted)
    for module in ("ibis", "duckdb", "networkx"):
        extra_package(module, "the watch", "watch")
    # Who injects from the store at the same time waits: the place may be the same.
    with open_store(wanted.store, None, wanted.key, there=True) as store:
        require_free(wanted.into)
        if not store.days():
            raise PotstillError(
                f"{wanted.store} holds no requests; take logs in with `potstill watch ingest`"
            )
        remove_leftovers_of(wanted.into)
        with replaced_directory(wanted.into, _ELSEWHERE) as building:
            _copied(store, building)
            tell(f"copied {wanted.store}")
            put = _injected(wanted, building)
    tell(f"put {many(len(put.hidden), 'campaign')} with {many(put.requests, 'request')} in")
    return put


def _copied(store: TrafficStore, building: Path) -> None:
    """Copy what a search of a store reads: no pages, nothing that was set aside."""
    from potstill.watch.case.register import CaseRegister
    from potstill.watch.ingest.store import ACCOUNTS_FILE, KEY_FILE, Ingested

    files = [store.header().file, KEY_FILE, ACCOUNTS_FILE]
    paths = [store.root / name for name in files]
    paths += [store.record_path(record.name) for record in (Ingested, CaseRegister)]
    with write_errors(building, _ELSEWHERE):
        for path in [*paths, *store.parts()]:
            if path.is_file():
                to = building / path.relative_to(store.root)
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, to)


def _injected(wanted: InjectWanted, building: Path) -> PutIn:
    """Put the campaigns into a copy."""
    with (
        traffic_engine("UTC") as backend,
        open_store(building, None, wanted.key, there=True) as store,
        told_damage(store),
    ):
        from potstill.runs.watch_lenders import Borrowing
        from potstill.watch.case.register import CaseRegister
        from potstill.watch.cases import allowed_accounts
        from potstill.watch.signals.traffic import traffic_of

        allowed = allowed_accounts(store, store.done(CaseRegister) or CaseRegister())
        traffic = traffic_of(store, backend).without(allowed)
        borrowing = Borrowing(traffic, _days(wanted, traffic.days), wanted.products)
        # Every campaign borrows from the traffic as it was, and none from another one.
        made = [_made(wanted, borrowing, store, number) for number in range(len(wanted.mechanisms))]
        total = int(traffic.requests.count().execute())
        hidden, marked, requests = [], {}, 0
        hashed = store.key.hasher("injected")
        for one in made:
            asked = _stored(store, one)
            name = one.campaign.campaign_id
            hidden.append(_hidden(one.campaign, asked))
            marked[name] = InjectedCampaign(
                mechanism=one.campaign.mechanism,
                seed=one.seed,
                accounts={hashed(account): count for account, count in sorted(asked.items())},
            )
            requests += sum(asked.values())
        store.finish(InjectedCampaigns(campaigns=marked))
        return PutIn(tuple(hidden), requests, _notes(wanted, borrowing, requests, total))


def _days(wanted: InjectWanted, there: tuple[str, ...]) -> tuple[str, ...]:
    first, last = wanted.first or there[0], wanted.last or there[-1]
    days = tuple(day for day in there if first <= day <= last)
    if not days:
        raise PotstillError(f"the store has no day from {first} to {last}; it has {there[0]} to "
                            f"{there[-1]}")  # fmt: skip
    return days


def _made(
    wanted: InjectWanted, borrowing: Borrowing, store: TrafficStore, number: int
) -> InjectedRows:
    """Return what the rows of one campaign are made from."""
    from potstill.runs.injected_people import Peopling, begin_of
    from potstill.runs.injected_rows import InjectedRows
    from potstill.runs.watch_lenders import common_values

    seed = wanted.seed * 1_000 + number
    rng = np.random.default_rng([seed, 1])
    able = borrowing.able()
    lenders = borrowing.lenders(_some(rng, able, wanted.accounts))
    cover = borrowing.lenders(_some(rng, able, wanted.accounts * _COVER_LENDERS))
    rate = wanted.rate or float(lenders.asked_ND.mean())
    campaign = _campaign(wanted, borrowing.days, number, rate, rng)
    common = {
        name: common_values(borrowing.traffic, name, of_accounts=of_accounts)
        for name, of_accounts in _MAY_BE_COMMON.items()
    }
    people = Peopling(
        campaign, lenders, common, store.key, rng, begin_of(borrowing.days[0])
    ).people()
    return InjectedRows(
        campaign=campaign,
        days=borrowing.days,
        lenders=lenders,
        cover=cover,
        people=people,
        there=frozenset(
            name
            for name in lenders.rows.column_names
            if lenders.rows[name].null_count < lenders.rows.num_rows
        ),
        privacy=store.config.privacy,
        key=store.key,
        source=digest_of(["injected", dataclasses.asdict(campaign), seed, list(borrowing.days)]),
        seed=seed,
    )


def _some(rng: np.random.Generator, able: tuple[str, ...], count: int) -> list[str]:
    drawn = rng.permutation(len(able))
    return [able[place] for place in np.resize(drawn, count)]


def _campaign(
    wanted: InjectWanted,
    days: tuple[str, ...],
    number: int,
    rate: float,
    rng: np.random.Generator,
) -> CampaignSpec:
    """Draw a campaign that lasts all of the days; its days count from the first one's Monday."""
    from potstill.simulator.grid import drawn_campaign
    from potstill.simulator.spec import AWKWARD

    mechanism = wanted.mechanisms[number]
    work = wanted.work or str(rng.choice(AWKWARD))
    first, last = (date.fromisoformat(days[place]) for place in (0, -1))
    lasts = (last - first).days + 1
    campaign = drawn_campaign(
        rng, f"injected-{number + 1}", mechanism, (wanted.accounts, rate, wanted.mix), work,
        lasts, 0,
    )  # fmt: skip
    look = dataclasses.replace(campaign.look, rate=rate, first_day=first.weekday(), days=lasts)
    return dataclasses.replace(campaign, look=look)


def _stored(store: TrafficStore, made: InjectedRows) -> Counter[str]:
    """Write a campaign's rows and accounts into the store, and count each account's requests."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from potstill.durable import temporary_folder
    from potstill.watch.ingest.parts import PartWriter, put_table
    from potstill.watch.ingest.rows import store_schema
    from potstill.watch.ingest.store import ACCOUNTS_FILE, SourceRecord, moved_parts
    from potstill.watch.ingest.tally import FileTally

    asked: Counter[str] = Counter()
    with (
        temporary_folder() as folder,
        PartWriter(folder, store_schema(made.privacy)) as writer,
    ):
        for day, table in made.tables():
            writer.add(day, table)
            asked.update(table["account_id"].to_pylist())
        parts = writer.finish()
        names = moved_parts(store, made.source, parts)
    held = store.ingested
    record = SourceRecord(
        name=f"{made.campaign.campaign_id} (simulated)",
        form="potstill",
        size=0,
        tally=FileTally(rows=sum(asked.values()), kept=sum(asked.values())),
        parts=names,
        rows={day: rows for day, (_, rows) in parts.items()},
    )
    if held.accounts is not None:
        path = store.root / ACCOUNTS_FILE
        table = pa.concat_tables([pq.read_table(path), made.people.table]).sort_by("account_id")
        put_table(path, table)
        held = held.model_copy(update={"accounts": {**held.accounts, "accounts": table.num_rows}})
    store.record(held.model_copy(update={"sources": {**held.sources, made.source: record}}))
    return asked


def _hidden(campaign: CampaignSpec, asked: Counter[str]) -> HiddenCampaign:
    works = mechanisms()[campaign.mechanism]
    return HiddenCampaign(campaign.campaign_id, works, dict(asked), campaign.families)


def _notes(
    wanted: InjectWanted, borrowing: Borrowing, requests: int, total: int
) -> tuple[str, ...]:
    notes = []
    if (able := len(borrowing.able())) < wanted.accounts:
        notes.append(
            f"only {many(able, 'account')} could lend rates and hours, so that some lend to several"
        )
    if requests > _MUCH * total:
        notes.append(
            f"{requests / (requests + total):.0%} of the copy's requests are injected: a campaign "
            "that is much of what it is compared with hides in it; take fewer accounts"
        )
    return tuple(notes)


def _report(wanted: InjectWanted, found: CampaignsFound, put: PutIn) -> InjectReport:
    seen = _seen(found)
    hidden = [
        dataclasses.replace(one, leaves=tuple(name for name in one.leaves if name in seen))
        for one in put.hidden
    ]
    named = [
        NamedGroup(one.campaign_id, frozenset(one.accounts), one.families)
        for one in found.campaigns
    ]
    return InjectReport(
        into=wanted.into,
        requests=put.requests,
        days=found.days,
        campaigns=outcomes(hidden, named),
        others=len(false_groups(hidden, named)),
        off=found.off,
        notes=put.notes,
    )


def _seen(found: CampaignsFound) -> set[str]:
    """Return the families of which some signal is on."""
    from potstill.watch.schema import SIGNALS

    return {one.family for one in SIGNALS if one.signal not in found.off}
