"""What a form of log is to the watch; `forms.py` has them all."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from potstill.watch.ingest.coerce import coalesced
from potstill.watch.ingest.fields import Fields

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True)
class Mapped:
    """A form's fields as the schema's columns, before their types are seen to.

    `accounts` are the fields that may say whose request it is, first ones first, by their names
    in the log. Of a `chat` (text of messages) and a `reply` (text of a response's body) the columns
    of text are read; a `system` message that is stated beside a chat comes before one in it.
    `is_call` tells the rows that are requests of a model at all.
    """

    columns: Mapping[str, Any]
    accounts: Mapping[str, Any]
    is_call: Any = True
    chat: Any = None
    reply: Any = None
    system: Any = None


@dataclass(frozen=True)
class TrafficForm:
    """One form of traffic log: which fields it reads, what shows it, and what they mean.

    `inner` are the members that it reads of fields that hold objects. `sign` is an expression that
    is true for rows of this form; `mapped` gives the columns. Of several forms with as many such
    rows the first in `forms.py` is taken.
    """

    name: str
    says: str
    fields: tuple[str, ...]
    inner: Mapping[str, tuple[str, ...]]
    sign: Callable[[Fields], Any]
    mapped: Callable[[Fields], Mapped]

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError("a form's name is lower-case letters, digits and dashes")


def first_of(values: Mapping[str, Any], *names: str) -> Any:
    """Return the first of several fields that says something, as text."""
    return coalesced([values[name] for name in names])


def any_said(values: Mapping[str, Any], *names: str) -> Any:
    """Tell whether any of several fields says anything."""
    return first_of(values, *names).notnull()
