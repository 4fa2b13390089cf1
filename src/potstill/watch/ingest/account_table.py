"""The table of accounts, since no log carries it: Parquet, CSV or lines of JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.csv
from ibis.backends.duckdb import Backend

from potstill.errors import PotstillError
from potstill.watch.ingest.coerce import as_kind, as_name
from potstill.watch.ingest.fields import FLAW, fields_of
from potstill.watch.ingest.parts import put_table
from potstill.watch.ingest.rows import each_text
from potstill.watch.ingest.secret import StoreKey, domain_of, network_of
from potstill.watch.ingest.sources import (
    file_kind,
    source_of_lines,
    source_of_parquet,
    source_of_reader,
    unreadable,
)
from potstill.watch.ingest.tally import Counts
from potstill.watch.schema import ACCOUNTS, arrow_schema, names_of

_CSV = (".csv", ".tsv")
_BLOCK = 8 << 20
TWICE = "an account that comes twice"


@dataclass(frozen=True)
class AccountTable:
    """The accounts, and how many rows were set aside, by reason."""

    table: pa.Table
    aside: Counts

    @property
    def filled(self) -> tuple[str, ...]:
        """The columns that hold something."""
        return tuple(
            name
            for name in self.table.column_names
            if self.table[name].null_count < self.table.num_rows
        )


def read_accounts(backend: Backend, path: Path, renames: Mapping[str, str]) -> AccountTable:
    """Return the accounts of a file, in the order of their names; nothing is hashed yet.

    Of rows that say different things of one account the one that says most stands, and the others
    are counted. Raises PotstillError where the file cannot be read, or names no account.
    """
    if not path.is_file():
        raise PotstillError(f"there is no table of accounts {path}; check --accounts")
    names = [renames.get(name, name) for name in names_of(ACCOUNTS)]
    try:
        if path.suffix.lower() in _CSV:
            found = _of_csv(backend, path, names)
        elif file_kind(path) == "parquet":
            found = _typed(backend, source_of_parquet(backend, path), names)
        elif file_kind(path) == "lines":
            with source_of_lines(backend, path, is_otlp=False) as source:
                found = _typed(backend, source, names)
        else:
            raise PotstillError(f"{path.name} is no table of accounts; give .parquet, .csv, .jsonl")
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        if path.suffix.lower() in _CSV:
            raise PotstillError(
                f"{path.name} is no table in UTF-8 whose rows have as many values as its first "
                "line has names; write it so"
            ) from error
        raise unreadable(path) from error
    if found.num_rows and found["account_id"].null_count == found.num_rows:
        raise PotstillError(
            f"{path.name} has no column account_id; say where it is with --map accounts.account_id="
            "COLUMN"
        )
    return _once(found)


def write_accounts(path: Path, accounts: pa.Table, key: StoreKey) -> None:
    """Write accounts as a store has them: what ties accounts together is hashed."""
    columns = {name: accounts[name].combine_chunks() for name in accounts.column_names}
    columns["account_id"] = each_text(columns["account_id"], key.account)
    columns["email_domain"] = each_text(columns["email_domain"], domain_of)
    columns["subnet"] = each_text(columns["subnet"], network_of)
    for column in ACCOUNTS:
        if column.keyed:
            columns[column.name] = each_text(columns[column.name], key.hasher(column.name))
    put_table(path, pa.table(columns, accounts.schema))


def _of_csv(backend: Backend, path: Path, names: list[str]) -> pa.Table:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open("rb") as file:
        head = file.readline().decode("utf-8-sig", "replace").strip("\r\n")
    columns = [name.strip().strip('"') for name in head.split(delimiter)]
    reader = pa.csv.open_csv(
        path,
        read_options=pa.csv.ReadOptions(block_size=_BLOCK),
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(columns, pa.string())),
    )
    with source_of_reader(backend, reader) as source:
        return _typed(backend, source, names)


def _typed(backend: Backend, source: ir.Table, names: list[str]) -> pa.Table:
    fields = fields_of(backend, source, names, {})
    columns = {
        column.name: as_name(fields[name])
        if column.name == "account_id"
        else as_kind(fields[name], column.kind)
        for column, name in zip(ACCOUNTS, names, strict=True)
    }
    found: pa.Table = backend.to_pyarrow(fields.table.select(FLAW, **columns))
    schema = arrow_schema(ACCOUNTS)
    typed = [found[name].cast(schema.field(name).type) for name in schema.names]
    return pa.table([found[FLAW], *typed], names=[FLAW, *schema.names])


def _once(found: pa.Table) -> AccountTable:
    """Return each account once, with counts of what was set aside."""
    aside: Counts = {}
    best: dict[str, tuple[int, str, int]] = {}
    columns = [found[name].to_pylist() for name in names_of(ACCOUNTS)]
    flaws = found[FLAW].to_pylist()
    for row, (flaw, *values) in enumerate(zip(flaws, *columns, strict=True)):
        if flaw is not None or values[0] is None:
            reason = flaw or "no account"
            aside[reason] = aside.get(reason, 0) + 1
            continue
        rank = (sum(value is None for value in values), repr(values), row)
        if values[0] in best:
            aside[TWICE] = aside.get(TWICE, 0) + 1
        best[values[0]] = min(best.get(values[0], rank), rank)
    rows = [best[name][2] for name in sorted(best)]
    return AccountTable(found.drop_columns([FLAW]).take(pa.array(rows, pa.int64())), aside)
