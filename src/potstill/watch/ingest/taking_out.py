"""Days and accounts taken out of a store, for good: what comes later of them is set aside."""

from __future__ import annotations

import shutil
from datetime import date
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from potstill.durable import write_errors
from potstill.errors import PotstillError
from potstill.watch.case.register import CASES_FOLDER, CaseRegister
from potstill.watch.days.daylog import forget_days
from potstill.watch.ingest.parts import put_table
from potstill.watch.ingest.repeats import without_account
from potstill.watch.ingest.rows import each_text
from potstill.watch.ingest.secret import StoreKey
from potstill.watch.ingest.store import ACCOUNTS_FILE, TrafficStore
from potstill.watch.ingest.taking import next_name, replaced_part


def delete_day(store: TrafficStore, day: str) -> int:
    """Take a day's requests out, and return how many there were; written cases go with it.

    Raises PotstillError for what is no date.
    """
    try:
        day = date.fromisoformat(day).isoformat()
    except ValueError:
        raise PotstillError("--day takes a date, for example 2026-03-01") from None
    held, gone, rows = store.ingested, list[Path](), 0
    sources = {}
    for digest, source in held.sources.items():
        if day in source.parts:
            gone.append(store.part_path(day, source.parts[day]))
            rows += source.rows[day]
            source = source.model_copy(
                update={
                    "parts": {d: p for d, p in source.parts.items() if d != day},
                    "rows": {d: n for d, n in source.rows.items() if d != day},
                }
            )
        sources[digest] = source
    days = tuple(sorted({*held.deleted_days, day}))
    _remove_pages(store)
    forget_days(store.root, [day])
    store.record(held.model_copy(update={"sources": sources, "deleted_days": days}), gone)
    return rows


def erase_account(store: TrafficStore, account: str) -> int:
    """Take an account's requests and its row of the table out, and return how many requests;
    written cases go with it.

    Its name is not kept, only a keyed hash, by which later rows of it are known.
    """
    key, held = store.key, store.ingested
    name, gone, rows, active = key.account(account), list[Path](), 0, set[str]()
    sources = {}
    for digest, source in held.sources.items():
        for day, part in dict(source.parts).items():
            path = store.part_path(day, part)
            final = next_name(path)
            with write_errors(store.root, store.way_out):
                left = without_account(path, final, name)
            if left is None:
                continue
            rows += source.rows[day] - left
            source = replaced_part(source, day, final, left)
            gone.append(path)
            active.add(day)
        sources[digest] = source
    erased = tuple(sorted({*held.erased, key.hasher("erased")(account)}))
    _erase_from_table(store.root / ACCOUNTS_FILE, name)
    if (cases := store.done(CaseRegister)) is not None:
        store.finish(cases.without_account(name))
    _remove_pages(store)
    # Lines of days name accounts that were active on them or before.
    forget_days(store.root, active, name)
    store.record(held.model_copy(update={"sources": sources, "erased": erased}), gone)
    return rows


def _remove_pages(store: TrafficStore) -> None:
    """Remove the cases that were written into a store: they show what has to go."""
    with write_errors(store.root, store.way_out):
        folder = store.root / CASES_FOLDER
        if folder.is_dir():
            shutil.rmtree(folder)


def _erase_from_table(path: Path, name: str) -> None:
    if not path.is_file():
        return
    accounts = pq.read_table(path)
    put_table(path, accounts.filter(pc.not_equal(accounts["account_id"], name)))


def without_erased(accounts: pa.Table, key: StoreKey, erased: tuple[str, ...]) -> pa.Table:
    """Return a table of accounts without those that were erased."""
    if not erased:
        return accounts
    hashes = each_text(accounts["account_id"].combine_chunks(), key.hasher("erased"))
    return accounts.filter(pc.invert(pc.is_in(hashes, pa.array(erased, pa.string()))))
