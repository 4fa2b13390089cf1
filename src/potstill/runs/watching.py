"""Traffic looked at, taken into a store, and taken out again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from potstill.durable import temporary_folder
from potstill.errors import PotstillError
from potstill.extras import extra_package
from potstill.progress import Progress, Silent

if TYPE_CHECKING:
    from ibis.backends.duckdb import Backend

    from potstill.watch.ingest.inspecting import Inspection
    from potstill.watch.ingest.store import TrafficStore

# Clocks of servers differ; what lies further ahead is in the future.
_CLOCKS = timedelta(minutes=5)
_OF_ACCOUNTS = "accounts."


@dataclass(frozen=True)
class LogWanted:
    """A log as a user names it. `maps` are `column=field`, or `accounts.column=field`."""

    logs: tuple[str, ...]
    accounts: Path | None = None
    maps: tuple[str, ...] = ()
    form: str | None = None
    zone: str = "UTC"
    with_text: bool = False
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def of_requests(self) -> tuple[str, ...]:
        """What is said of the requests' columns."""
        return tuple(one for one in self.maps if not one.startswith(_OF_ACCOUNTS))

    @property
    def of_accounts(self) -> tuple[str, ...]:
        """What is said of the accounts' columns."""
        found = (one for one in self.maps if one.startswith(_OF_ACCOUNTS))
        return tuple(one.removeprefix(_OF_ACCOUNTS) for one in found)


@dataclass(frozen=True)
class TakenFile:
    """What became of one file; `problem` says why nothing of it was taken."""

    name: str
    digest: str | None = None
    form: str | None = None
    again: bool = False
    merged: int = 0
    tally: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class IngestReport:
    """What a store took in, file by file, and what it holds now."""

    into: str
    privacy: str
    files: tuple[TakenFile, ...]
    passed_over: tuple[str, ...]
    accounts: Mapping[str, int] | None
    days: Mapping[str, int]

    @property
    def failed(self) -> tuple[TakenFile, ...]:
        """The files of which nothing was taken."""
        return tuple(one for one in self.files if one.problem is not None)

    def record(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {"schema": "potstill/watch-ingest/1", **asdict(self)}


def inspect_log(wanted: LogWanted, progress: Progress | None = None) -> Inspection:
    """Return what a log is recognised as; nothing is stored."""
    progress = progress or Silent()
    with traffic_engine(wanted.zone) as backend:
        from potstill.watch.ingest.account_table import read_accounts
        from potstill.watch.ingest.inspecting import Inspecting, inspection
        from potstill.watch.ingest.mapping import renames_of
        from potstill.watch.ingest.sources import traffic_files
        from potstill.watch.schema import ACCOUNTS, REQUESTS

        renames = renames_of(wanted.of_requests, REQUESTS)
        of_accounts = renames_of(wanted.of_accounts, ACCOUNTS)
        files = traffic_files(wanted.logs)
        reading = Inspecting(
            backend,
            renames,
            wanted.now + _CLOCKS,
            form=wanted.form,
            with_text=wanted.with_text,
        )
        found = []
        with progress.step("inspect", total=len(files.paths), unit="files") as step:
            for path in files.paths:
                found.append(reading.file(path))
                step.advance()
        accounts = None
        if wanted.accounts is not None:
            accounts = read_accounts(backend, wanted.accounts, of_accounts)
        return inspection(found, files.passed_over, reading.seen, accounts)


def ingest_log(
    wanted: LogWanted,
    into: Path,
    privacy: str | None,
    key: Path | None = None,
    progress: Progress | None = None,
) -> IngestReport:
    """Take a log into a store. A file that cannot be read is named, and does not cost the others.

    Raises PotstillError where the store is one of another privacy mode, or nothing can be read.
    """
    progress = progress or Silent()
    with traffic_engine(wanted.zone) as backend:
        from potstill.watch.ingest.mapping import renames_of
        from potstill.watch.ingest.sources import traffic_files
        from potstill.watch.ingest.taking import TakingSettings
        from potstill.watch.schema import ACCOUNTS, REQUESTS

        settings = TakingSettings(
            wanted.now + _CLOCKS,
            renames_of(wanted.of_requests, REQUESTS),
            wanted.form,
            wanted.with_text,
        )
        of_accounts = renames_of(wanted.of_accounts, ACCOUNTS)
        files = traffic_files(wanted.logs)
        with open_store(into, privacy, key) as store:
            accounts = _take_accounts(store, backend, wanted.accounts, of_accounts)
            taken = []
            with progress.step("ingest", unit="rows") as step:
                for path in files.paths:
                    taken.append(_taken(store, backend, path, settings, step.advance))
            return IngestReport(
                into=str(into),
                privacy=store.config.privacy,
                files=tuple(taken),
                passed_over=files.passed_over,
                accounts=accounts,
                days=_days(store),
            )


def forget_of(
    into: Path, days: tuple[str, ...], accounts: tuple[str, ...], key: Path | None = None
) -> dict[str, int]:
    """Take days and accounts out of a store, and return the requests of each."""
    extra_package("ibis", "the watch", "watch")
    from potstill.watch.ingest.taking_out import delete_day, erase_account

    if not days and not accounts:
        raise PotstillError("say what to take out: --day or --account")
    with open_store(into, None, key, there=True) as store:
        found = {f"day {day}": delete_day(store, day) for day in days}
        for number, account in enumerate(accounts, 1):
            found[f"account {number}"] = erase_account(store, account)
    return found


def open_store(
    into: Path, privacy: str | None, key: Path | None = None, *, there: bool = False
) -> TrafficStore:
    """Return a store, held; a new one where there is none, unless it has to be `there`."""
    from typing import cast, get_args

    from potstill.watch.ingest.rows import Privacy
    from potstill.watch.ingest.store import TrafficStore

    modes = get_args(Privacy)
    if privacy is not None and privacy not in modes:
        raise PotstillError(f"--privacy is one of {', '.join(modes)}; choose one of these")
    if there:
        TrafficStore.header().require(into)
    return TrafficStore.at(into, cast("Privacy | None", privacy), key)


@contextmanager
def told_damage(store: TrafficStore) -> Iterator[None]:
    """Raise PotstillError that names the file where a block fails because one is damaged inside.

    Opening a store looks at the end of each file alone; only reading tells of the rest.
    """
    import duckdb
    import pyarrow as pa

    from potstill.watch.spark import spark_errors

    try:
        yield
    except (duckdb.Error, OSError, pa.ArrowException, *spark_errors()):
        store.check(rows=True)
        raise


@contextmanager
def traffic_engine(zone: str) -> Iterator[Backend]:
    """Yield a connection that spills into a folder of its own."""
    extra_package("ibis", "the watch", "watch")
    extra_package("duckdb", "the watch", "watch")
    from potstill.watch.ingest.engine import connect, engine_errors

    with temporary_folder() as folder, engine_errors(folder):
        backend = connect(folder, zone=zone)
        try:
            yield backend
        finally:
            backend.disconnect()


def _taken(
    store: TrafficStore, backend: Backend, path: Path, settings: Any, advance: Any
) -> TakenFile:
    from potstill.watch.ingest.taking import take_file

    try:
        found = take_file(store, backend, path, settings, advance)
    except PotstillError as error:
        return TakenFile(path.name, problem=str(error))
    notes = found.record.tally.notes()
    if found.record.merged:
        notes = (
            *notes,
            f"{found.record.merged} rows repeat a request of their day, and are merged",
        )
    return TakenFile(
        path.name,
        found.digest,
        found.record.form,
        found.again,
        found.record.merged,
        found.record.tally.model_dump(mode="json"),
        notes,
    )


def _take_accounts(
    store: TrafficStore, backend: Backend, path: Path | None, renames: Mapping[str, str]
) -> dict[str, int] | None:
    from potstill.watch.ingest.account_table import read_accounts, write_accounts
    from potstill.watch.ingest.store import ACCOUNTS_FILE
    from potstill.watch.ingest.taking_out import without_erased

    held = store.ingested
    if path is None:
        return held.accounts
    found = read_accounts(backend, path, renames)
    kept = without_erased(found.table, store.key, held.erased)
    write_accounts(store.root / ACCOUNTS_FILE, kept, store.key)
    counts = {"accounts": kept.num_rows, **found.aside}
    store.record(held.model_copy(update={"accounts": counts}))
    return counts


def _days(store: TrafficStore) -> dict[str, int]:
    days: dict[str, int] = {}
    for source in store.ingested.sources.values():
        for day, rows in source.rows.items():
            days[day] = days.get(day, 0) + rows
    return dict(sorted(days.items()))
