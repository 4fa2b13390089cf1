"""A form's rows as the schema's: one expression, whatever the source.

Beside the schema's columns a row says why it is set aside (`_flaw`), which of its values fit no
column (`_unfit`, a bit a column), which field named the account (`_from`) and whether its time
stated no zone (`_no_zone`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import ibis
import ibis.expr.types as ir
from ibis.backends.duckdb import Backend

from potstill.errors import PotstillError
from potstill.watch.ingest.coerce import (
    as_kind,
    as_name,
    as_text,
    coalesced,
    unfit_mask,
    without_zone,
)
from potstill.watch.ingest.engine import (
    answer_text,
    chat_of,
    parts_text,
    stage,
    system_text,
    user_text,
)
from potstill.watch.ingest.fields import FLAW, LINE, PLACE, ROW, Fields, fields_of
from potstill.watch.ingest.form import Mapped, TrafficForm
from potstill.watch.schema import REQUESTS, TrafficColumn, names_of

UNFIT, FROM, NO_ZONE = "_unfit", "_from", "_no_zone"
NO_CALL, NO_ACCOUNT, NO_TIME = "no request of a model", "no account", "no time"
# Typed columns, in the order of the bits of `_unfit`.
TYPED = tuple(column for column in REQUESTS if column.kind != "text")


@dataclass(frozen=True)
class MappedRows:
    """The rows as an expression; `accounts` are the fields that `_from` counts, from 0."""

    table: ir.Table
    accounts: tuple[str, ...]


def renames_of(
    stated: tuple[str, ...], columns: tuple[TrafficColumn, ...] = REQUESTS
) -> dict[str, str]:
    """Return the field of each column from `column=field`.

    Raises PotstillError for anything else, and for columns that the schema does not have.
    """
    renames = {}
    for one in stated:
        column, sign, field = one.partition("=")
        if column not in names_of(columns) or not sign or not field or '"' in field:
            raise PotstillError(
                "--map takes column=field, for example account_id=attributes.tenant; columns are "
                f"{', '.join(names_of(columns))}"
            )
        renames[column] = field
    return renames


def mapped_rows(
    backend: Backend,
    source: ir.Table,
    form: TrafficForm,
    renames: Mapping[str, str],
    *,
    text: bool,
    keep_lines: bool = False,
) -> MappedRows:
    """Return the rows of a source in a form; without `text` only the lengths of texts are kept.

    With `keep_lines` a line that is set aside goes along.
    """
    fields = form_fields(backend, source, form, renames, keep_lines=keep_lines)
    mapped = form.mapped(fields)
    stated = {column: stated_field(fields, field) for column, field in renames.items()}
    accounts = dict(mapped.accounts)
    if "account_id" in stated:
        accounts = {renames["account_id"]: stated.pop("account_id")}
    named = [as_name(value) for value in accounts.values()]
    raw = {name: value for name, value in {**mapped.columns, **stated}.items() if value is not None}
    kept = [name for name in (ROW, PLACE, LINE, FLAW) if name in fields.table.columns]
    table = fields.table.select(
        *kept,
        _call=ibis.literal(True) & mapped.is_call,
        _chat=_chat(mapped, stated),
        _reply=_none() if mapped.reply is None else as_text(mapped.reply),
        _system=_none() if mapped.system is None else as_text(mapped.system),
        account_id=coalesced(named),
        **{
            FROM: ibis.cases(*((name.notnull(), n) for n, name in enumerate(named)), else_=-1).cast(
                "int16"
            )
        },
        **raw,
    )
    raw_table = stage(backend, table, "raw")
    typed = stage(backend, _typed(raw_table, kept, mapped, raw), "typed")
    return MappedRows(_finished(typed, text), tuple(accounts))


def form_fields(
    backend: Backend,
    source: ir.Table,
    form: TrafficForm,
    renames: Mapping[str, str] = MappingProxyType({}),
    *,
    keep_lines: bool = False,
) -> Fields:
    """Return what a form reads of a source, and what a user named."""
    inner = dict(form.inner)
    for field in renames.values():
        head, dot, rest = field.partition(".")
        if dot:
            keys = (*inner.get(head, ()), rest, _path(rest))
            inner[head] = tuple(dict.fromkeys(keys))
    names = (*form.fields, *renames.values())
    return fields_of(backend, source, names, inner, keep_lines=keep_lines)


def stated_field(fields: Fields, field: str) -> Any:
    """Return the field that a user named: by its whole name, or inside what its first part names.

    What follows the first dot is one name, as attributes have dots in theirs, or else a path.
    """
    head, dot, rest = field.partition(".")
    if not dot:
        return fields[field]
    inside = fields.inside(head)
    return coalesced([fields[field], inside[rest], inside[_path(rest)]])


def _path(rest: str) -> str:
    return "$." + ".".join(f'"{key}"' for key in rest.split("."))


def _none() -> Any:
    return ibis.null("string")


def _chat(mapped: Mapped, stated: Mapping[str, Any]) -> Any:
    """Return the messages as JSON; those that a user named come first."""
    chat = stated.get("messages", mapped.chat)
    return chat_of(_none() if chat is None else as_text(chat))


def _typed(table: ir.Table, kept: list[str], mapped: Mapped, raw: Mapping[str, Any]) -> ir.Table:
    """Return the rows in the schema's types, with what was read of chats."""
    columns = {c.name: as_kind(table[c.name], c.kind) for c in REQUESTS if c.name in raw}
    if mapped.chat is not None:
        chat = table["_chat"]
        read = {
            "system": ibis.coalesce(parts_text(table["_system"]), system_text(chat)),
            "prompt": user_text(chat),
            "messages": chat.cast("string"),
            "response": answer_text(table["_reply"]),
        }
        columns = {**read, **columns}
    for column in REQUESTS:
        if column.name not in columns and column.name != "account_id":
            columns[column.name] = as_kind(_none(), column.kind)
    beside = {
        UNFIT: unfit_mask({name: table[name] for name in raw}, columns, TYPED),
        NO_ZONE: without_zone(table["time"]) if "time" in raw else ibis.literal(False),
    }
    return table.select(*kept, "_call", FROM, "account_id", **columns, **beside)


def _finished(table: ir.Table, text: bool) -> ir.Table:
    flaw = ibis.coalesce(
        table[FLAW],
        ibis.ifelse(table["_call"], _none(), NO_CALL),
        ibis.ifelse(table["account_id"].isnull(), NO_ACCOUNT, _none()),
        ibis.ifelse(table["time"].isnull(), NO_TIME, _none()),
    )
    lines = {}
    if LINE in table.columns:
        lines[LINE] = ibis.ifelse(flaw.notnull(), table[LINE], _none())
    return table.select(
        ROW,
        PLACE,
        **{FLAW: flaw},
        **lines,
        **{c.name: table[c.name] for c in REQUESTS if text or not c.text},
        **{f"{n}_chars": table[n].length().cast("int32") for n in ("prompt", "response")},
        **{name: table[name] for name in (UNFIT, FROM, NO_ZONE)},
    )
