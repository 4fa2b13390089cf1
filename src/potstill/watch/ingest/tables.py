"""Any Ibis table, on whatever engine, taken into a store."""

from __future__ import annotations

import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from potstill.canonical import digest_of
from potstill.watch.ingest.recognise import form_of
from potstill.watch.ingest.sources import source_of_table
from potstill.watch.ingest.store import SourceRecord, TrafficStore
from potstill.watch.ingest.taking import TakenSource, TakingSettings, mapped_of, take_rows
from potstill.watch.ingest.tally import FileTally


def take_table(
    store: TrafficStore,
    backend: Backend,
    table: ir.Table,
    name: str,
    settings: TakingSettings,
) -> TakenSource:
    """Take the rows of a table into a store, once under each `name`.

    A name stands for what the table holds, for example a day of it: a store that has one of the
    name takes nothing. `backend` is what rows are mapped by, not where the table is. Raises
    PotstillError where the table is in no known form.
    """
    digest = digest_of(["table", name])
    if (known := store.ingested.sources.get(digest)) is not None:
        return TakenSource(digest, known, again=True)
    with source_of_table(backend, table.limit(500)) as first:
        kept = backend.to_pyarrow(first)
    backend.con.register("potstill_first", kept)
    found = form_of(backend, backend.table("potstill_first"), name, settings.renames, settings.form)
    backend.con.unregister("potstill_first")
    with source_of_table(backend, table) as source:
        mapped = mapped_of(store, backend, source, found, settings)
        about = SourceRecord(name=name, form=found.form.name, size=0, tally=FileTally())
        return take_rows(store, backend, mapped, digest, about, settings)
