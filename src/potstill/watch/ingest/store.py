"""What was taken in of a service's traffic: a work directory of Parquet, day by day.

`requests/day=.../` holds parts, each of one source file; which of them count, the record says, so
that a kill leaves nothing half done. A day and an account can be taken out again, and stay out.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import ClassVar, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from potstill.durable import fsync_folder, write_errors
from potstill.errors import PotstillError
from potstill.watch.case.register import CaseRegister
from potstill.watch.ingest.rows import Privacy, store_schema
from potstill.watch.ingest.secret import StoreKey, new_key, read_store_key
from potstill.watch.ingest.tally import Counts, FileTally
from potstill.watch.schema import ACCOUNTS, SCHEMA, arrow_schema
from potstill.watch.sketches import VERSION
from potstill.work.header import Header
from potstill.work.workdir import Recorded, WorkDir, WorkRecord

REQUESTS_FOLDER, ASIDE_FOLDER = "requests", "aside"
ACCOUNTS_FILE, KEY_FILE = "accounts.parquet", "key"


class StoreSettings(BaseModel):
    """What a store is made by: nothing of it can change later, since text is not kept."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    layout: str = SCHEMA
    privacy: Privacy = "sketches"
    sketches: int | None = None
    key_id: str = ""


class SourceRecord(Recorded):
    """One file that was taken in, known by its digest.

    `parts` are files of the store by day, `merged` counts its rows that repeat another one's
    request on the same day.
    """

    name: str
    form: str
    size: int
    tally: FileTally
    parts: dict[str, str] = Field(default_factory=dict)
    rows: Counts = Field(default_factory=dict)
    merged: int = 0


class Ingested(WorkRecord):
    """All that a store holds: sources by digest, what was taken out, the table of accounts."""

    name: ClassVar[str] = "ingested"
    begun_with: ClassVar[bool] = True

    sources: dict[str, SourceRecord] = Field(default_factory=dict)
    deleted_days: tuple[str, ...] = ()
    erased: tuple[str, ...] = ()
    accounts: Counts | None = None


class TrafficStore(WorkDir[StoreSettings]):
    """An open store of traffic."""

    records: ClassVar[tuple[type[WorkRecord], ...]] = (Ingested, CaseRegister)
    way_out: ClassVar[str] = "copy the store to where it can be written"
    _key: StoreKey | None = None

    @classmethod
    def header(cls) -> Header[StoreSettings]:
        """Return the header of stores."""
        return Header(
            StoreSettings, "watch.yaml", "settings", "watch", "take the logs into a new directory",
            "choose another directory with --into",
        )  # fmt: skip

    @classmethod
    def at(cls, root: Path, privacy: Privacy | None, key: Path | None = None) -> Self:
        """Create a store, or go on in one, and hold it. Without `privacy` it is as it was made.

        Raises PotstillError where it is no store, one of another privacy mode, or of another key.
        """
        header = cls.header()
        header.refuse_foreign(root)
        if header.begins(root):
            there = header.read(root)
            if privacy not in (None, there.privacy):
                raise PotstillError(
                    f"{root} was made with --privacy {there.privacy}, and what that left out is "
                    f"not there; choose another directory with --into, or --privacy {there.privacy}"
                )
            found = read_store_key(key or root / KEY_FILE)
            if found.key_id != there.key_id:
                raise PotstillError(
                    f"this is not the key that {root} was made with; give that one with --key"
                )
            if there.layout != SCHEMA or there.sketches not in (None, VERSION):
                raise PotstillError(
                    f"{root} was made by another version of potstill, whose columns or sketches "
                    "differ; use that version, or take the logs into a new directory"
                )
            store = cls.open(root, there)
            try:
                store.check()
            except PotstillError:
                store.close()
                raise
        else:
            privacy = privacy or "sketches"
            with write_errors(root):
                root.mkdir(parents=True, exist_ok=True)
            path = key or root / KEY_FILE
            found = read_store_key(path) if path.exists() else new_key(path.absolute())
            store = cls._new(root, privacy, found, beside=path if key is None else None)
        store._key = found
        store.remove_strays()
        return store

    @classmethod
    def _new(cls, root: Path, privacy: Privacy, key: StoreKey, beside: Path | None) -> Self:
        settings = StoreSettings(
            privacy=privacy,
            sketches=None if privacy == "metadata" else VERSION,
            key_id=key.key_id,
        )
        # A directory with a key alone is none of ours yet: the header comes with it.
        if beside is not None:
            cls.header().write(root, settings)
        return cls.open(root, settings)

    @property
    def ingested(self) -> Ingested:
        """Return what the store holds."""
        return self.done(Ingested) or Ingested()

    @property
    def key(self) -> StoreKey:
        """The store's key; one that is kept elsewhere is known to who opened the store with it."""
        if self._key is None:
            self._key = read_store_key(self.root / KEY_FILE)
        return self._key

    def part_path(self, day: str, name: str) -> Path:
        """Return the file of a part."""
        return self.root / REQUESTS_FOLDER / f"day={day}" / name

    def parts(self, days: Iterable[str] | None = None) -> tuple[Path, ...]:
        """Return the parts of some days, or of all, in order."""
        wanted = None if days is None else set(days)
        return tuple(
            self.part_path(day, part)
            for day, part in sorted(
                (day, part)
                for source in self.ingested.sources.values()
                for day, part in source.parts.items()
            )
            if wanted is None or day in wanted
        )

    def days(self) -> tuple[str, ...]:
        """Return the days that the store holds requests of."""
        sources = self.ingested.sources.values()
        return tuple(sorted({day for source in sources for day in source.parts}))

    def check(self, *, rows: bool = False) -> None:
        """Raise PotstillError where a file that the record names cannot be used: it is gone,
        damaged or cut off, or has other columns; with `rows` each of its rows is read."""
        parts = store_schema(self.config.privacy)
        named = [(part, parts) for part in self.parts()]
        if self.ingested.accounts is not None:
            named.append((self.root / ACCOUNTS_FILE, arrow_schema(ACCOUNTS)))
        for path, schema in named:
            try:
                whole = pq.read_schema(path).equals(schema)
                for _ in pq.ParquetFile(path).iter_batches() if rows else ():
                    pass
            except (OSError, pa.ArrowException):
                whole = False
            if not whole:
                raise PotstillError(
                    f"{path} is gone, damaged, or not as it was written; bring it back, or take "
                    "the logs into a new directory"
                )

    def remove_strays(self) -> None:
        """Remove parts that no record names: what a kill left."""
        known = set(self.parts())
        folder = self.root / REQUESTS_FOLDER
        with write_errors(self.root, self.way_out):
            for path in sorted(folder.glob("day=*/*")) if folder.is_dir() else ():
                if path not in known and not path.is_dir():
                    path.unlink()
            remove_empty_days(folder)

    def record(self, ingested: Ingested, gone: Iterable[Path] = ()) -> None:
        """Record what the store holds from now on, and then remove files that are part of it no
        more."""
        self.finish(ingested)
        with write_errors(self.root, self.way_out):
            for path in gone:
                path.unlink(missing_ok=True)
            remove_empty_days(self.root / REQUESTS_FOLDER)


def moved_parts(
    store: TrafficStore, digest: str, staged: Mapping[str, tuple[Path, int]]
) -> dict[str, str]:
    """Move a source's staged parts to their places, and return their names by day."""
    names = {}
    with write_errors(store.root, store.way_out):
        for day, (path, _) in staged.items():
            name = f"{digest[:16]}.parquet"
            final = store.part_path(day, name)
            number = 1
            while final.exists():
                number += 1
                name = f"{digest[:16]}-{number}.parquet"
                final = store.part_path(day, name)
            final.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(path, final)
            fsync_folder(final.parent)
            names[day] = name
    return names


def remove_empty_days(folder: Path) -> None:
    """Remove the folders of days without parts."""
    for path in folder.glob("day=*") if folder.is_dir() else ():
        if not any(path.iterdir()):
            path.rmdir()
