"""The registry of forms: which one a log has, told from its first rows, and how it is read.

`register` adds a form; those that potstill brings are registered in the same way, at the end.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TypeVar

from potstill.errors import PotstillError
from potstill.logs import accounts
from potstill.logs.accounts import Account, no_account
from potstill.logs.batch import batch_records, part_of_a_batch
from potstill.logs.call import Reason, Record, Values
from potstill.logs.conversations import chat_of_cell
from potstill.logs.files import kind_of
from potstill.logs.lines import BadRow, log_rows
from potstill.logs.litellm import read_litellm
from potstill.logs.readers import (
    CONVERSATIONS,
    Columns,
    read_alpaca,
    read_chat,
    read_completion,
    read_sharegpt,
    read_table,
)
from potstill.logs.rows import SourceRow
from potstill.logs.serving import account_served, is_served_row, read_served
from potstill.logs.template import template_columns
from potstill.logs.turns import Chat
from potstill.logs.values import structured
from potstill.recipe.calls import LOG_FORMS

_FIRST_ROWS = 200
_LITELLM = {
    "call_type",
    "startTime",
    "endTime",
    "spend",
    "response_cost",
    "custom_llm_provider",
    "proxy_server_request",
    "model_group",
    "cache_hit",
    "api_base",
}
_LITELLM_LEAST = 3  # of these columns, beside an id
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
_MOST_NAMED = 12
_FORM_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True)
class ReadSettings:
    """What a recipe says of how rows are read.

    Where no `answers` are wanted, only what was asked has to be there. `whole_requests`: LiteLLM's
    proxy is known to have stored whole requests.
    """

    columns: Columns = Columns()
    answers: bool = True
    whole_requests: bool = False


T = TypeVar("T")

Records = Iterator[tuple[Record | Reason, str]]
"""A record, or why there is none, and its place, for every row."""


@dataclass(frozen=True)
class LogForm:
    """One form of a log: what shows it in a row, how a row is read, and who called.

    `shown` returns the words for what shows it, None where nothing does. `read` makes a record of
    one row; where rows are no calls by themselves, `read_files` makes those of all files in its
    place. `account` says who made the call of a row, and is asked for that alone, never for what
    was said. No other form is looked for in a row that shows one with columns `of_its_own`.
    """

    name: str
    shown: Callable[[Values, ReadSettings], str | None]
    read: Callable[[Values, ReadSettings], Record] | None = None
    read_files: Callable[[Sequence[str], ReadSettings], Records] | None = None
    account: Callable[[Values], Account] = no_account
    of_its_own: bool = False

    def __post_init__(self) -> None:
        if (self.read is None) is (self.read_files is None):
            raise ValueError(f"the form {self.name} needs one of read and read_files")

    def accounts(self, paths: Sequence[str]) -> Iterator[tuple[Account, str]]:
        """Yield who made the call of each readable row of the files, and its place."""
        for path in paths:
            for row in log_rows(path):
                if isinstance(row, SourceRow):
                    yield self._given(self.account(row.values), Account, row.place), row.place

    def records(self, paths: Sequence[str], settings: ReadSettings) -> Records:
        """Yield a record, or why there is none, and its place, for every row of the files."""
        if self.read_files is not None:
            yield from self.read_files(paths, settings)
            return
        assert self.read is not None  # there is one of the two
        for path in paths:
            for row in log_rows(path):
                if isinstance(row, BadRow):
                    yield row.reason, row.place
                else:
                    yield self._given(self.read(row.values, settings), Record, row.place), row.place

    def _given(self, found: T, kind: type[T], place: str) -> T:
        """Return what a form made of a row. Raises PotstillError where it is something else."""
        if not isinstance(found, kind):
            raise PotstillError(
                f"the form of logs {self.name} made an object of class {type(found).__name__} of "
                f"{place}; have it make one of the class {kind.__name__}"
            )
        return found


@dataclass(frozen=True)
class Detected:
    """The form of a log, and the words that say what shows it."""

    form: str
    why: str


_FORMS: dict[str, LogForm] = {}


def register(form: LogForm) -> LogForm:
    """Let logs of a form be read: by themselves, and where `collect.calls.form` names it.

    Forms are looked for in the order that they were registered in. Raises PotstillError where the
    name is taken, or cannot be one.
    """
    if not _FORM_NAME.fullmatch(form.name) or form.name == "auto":
        raise PotstillError(
            f"{form.name!r} cannot name a form of logs; take lower-case letters, digits and dashes"
        )
    if form.name in _FORMS:
        raise PotstillError(
            f"there is a form of logs named {form.name} already; give yours another name"
        )
    _FORMS[form.name] = form
    LOG_FORMS.add(form.name)
    return form


def unregister(name: str) -> None:
    """Take a form out again; one that is not there needs nothing."""
    if _FORMS.pop(name, None) is not None:
        LOG_FORMS.remove(name)


def known_forms() -> tuple[str, ...]:
    """Return the names of all forms, in the order that they are looked for in."""
    return tuple(_FORMS)


def form_named(name: str) -> LogForm:
    """Return a form by its name. Raises PotstillError, with the known names, for another."""
    if name not in _FORMS:
        close = get_close_matches(name, _FORMS, 1)
        raise PotstillError(
            f"no form of logs is named {name}; there are {', '.join(_FORMS)}"
            + (f" (did you mean {close[0]}?)" if close else "")
        )
    return _FORMS[name]


def detect(path: str, settings: ReadSettings = ReadSettings()) -> Detected:
    """Return which form a log has, and why, from its first rows.

    A table needs both columns, or only the prompt's where no answers are wanted.

    Raises PotstillError where it cannot be read, has no readable row, or could be several forms
    or none; the way out is to state `collect.calls.form`.
    """
    rows = first_rows(path)
    found: dict[str, str] = {}
    for row in rows:
        found = {**_shown(row.values, settings), **found}
    name = _name(rows)
    if len(found) > 1:
        ways = "; ".join(f"{form} ({why})" for form, why in sorted(found.items()))
        raise PotstillError(
            f"the log of calls {name} could be of several forms: {ways}; state one with "
            "collect.calls.form"
        )
    for form, why in found.items():
        return Detected(form, why)
    if len(rows) == 1 and kind_of(Path(path)) == "json" and not _has_text(rows[0].values):
        raise PotstillError(
            f"the log of calls {name} is one object, and no call that is known; its columns are: "
            f"{columns_of(rows)}. Write the calls as .jsonl, one object a line"
        )
    raise PotstillError(
        f"the log of calls {rows[0].place}, is of no known form; its columns are: "
        f"{columns_of(rows)}. State "
        "collect.calls.form, or name the columns with collect.calls.prompt_column (or template) "
        "and collect.calls.response_column"
    )


def _has_text(row: Values) -> bool:
    return any(isinstance(value, str) for value in row.values())


def first_rows(path: str) -> list[SourceRow]:
    """Return the readable rows among the first of a log. Raises PotstillError if there are none."""
    first = list(islice(log_rows(path), _FIRST_ROWS))
    readable = [row for row in first if isinstance(row, SourceRow)]
    if readable:
        return readable
    name = path.rpartition("/")[2]
    if not first:
        raise PotstillError(f"the log of calls {name} is empty; give a file with calls in it")
    place = next(row.place for row in first if isinstance(row, BadRow))
    raise PotstillError(
        f"the log of calls {name} has no readable row among its first {len(first)} "
        f"({place}, is no JSON object or valid row); every row must be one call"
    )


def require_columns(rows: Sequence[SourceRow], settings: ReadSettings) -> None:
    """Raise PotstillError unless some of a table's rows have the columns that a recipe names."""
    columns = settings.columns
    if columns.template is None:
        _require(rows, columns.prompt, "prompt_column")
    else:
        for column in template_columns(columns.template):
            _require(rows, column, "template")
    if settings.answers and not any(_holds_its_answer(row.values, columns) for row in rows):
        _require(rows, columns.response, "response_column")


def _require(rows: Sequence[SourceRow], column: str, field: str) -> None:
    if not any(column in row.values for row in rows):
        raise PotstillError(
            f"the log of calls {_name(rows)} has no column {column}; the columns there are: "
            f"{columns_of(rows)}. Set collect.calls.{field}"
        )


def columns_of(rows: Sequence[SourceRow]) -> str:
    """Return the columns of rows in words, the most frequent first.

    Names that do not look like a column's are only counted: a table without a header has text
    in their place.
    """
    counts = Counter(str(name) for row in rows for name in row.values)
    ordered = sorted(counts, key=lambda name: (-counts[name], name))
    plain = [name for name in ordered if _PLAIN_NAME.fullmatch(name)][:_MOST_NAMED]
    others = len(ordered) - len(plain)
    words = ", ".join(plain)
    if others:
        words += f"{' and ' if plain else ''}{others} more"
    return words or "none"


def _name(rows: Sequence[SourceRow]) -> str:
    return re.sub(r", (line|row) \d+$", "", rows[0].place)


def _shown(row: Values, settings: ReadSettings) -> dict[str, str]:
    """Return every form that one row could have, with the columns that show it."""
    found: dict[str, str] = {}
    for name, form in _FORMS.items():
        why = form.shown(row, settings)
        if why is None:
            continue
        if form.of_its_own or (name == "table" and settings.columns.stated):
            return {name: why}  # where the recipe names columns, a table is meant
        found[name] = why
    return found


def _batch(row: Values, settings: ReadSettings) -> str | None:
    part = part_of_a_batch(row)
    return None if part is None else f"rows have custom_id and {part}"


def _serving(row: Values, settings: ReadSettings) -> str | None:
    return "rows have the schema of a serving log" if is_served_row(row) else None


def _litellm(row: Values, settings: ReadSettings) -> str | None:
    markers = sorted(row.keys() & _LITELLM)
    if not row.keys() & {"request_id", "id"} or len(markers) < _LITELLM_LEAST:
        return None
    return f"rows have {', '.join(markers[:_LITELLM_LEAST])}"


def _table(row: Values, settings: ReadSettings) -> str | None:
    columns = settings.columns
    if columns.template is not None:
        asked, shown = template_columns(columns.template), "the template's columns"
    else:
        asked, shown = (columns.prompt,), columns.prompt
        if not columns.stated and row.get("completion") is not None:
            return None
    if not row.keys() >= set(asked):
        return None
    if not settings.answers:
        return f"rows have {shown}"
    if columns.response in row:
        return f"rows have {shown} and {columns.response}"
    return f"rows have conversations in {shown}" if _holds_its_answer(row, columns) else None


def _holds_its_answer(row: Values, columns: Columns) -> bool:
    """Tell whether the prompt's cell is a conversation that the assistant ends."""
    if columns.template is not None or columns.prompt not in row or columns.response in row:
        return False
    chat = chat_of_cell(row[columns.prompt], columns.prompt)
    return isinstance(chat, Chat) and bool(chat.turns) and chat.turns[-1]["role"] == "assistant"


def _chat(row: Values, settings: ReadSettings) -> str | None:
    there = {key for key, value in row.items() if value is not None}
    for keys in (("messages",), ("request", "response"), ("choices",), ("input", "output")):
        if not there >= set(keys):
            continue
        if keys[0] == "request" and not isinstance(structured(row["request"]), dict | list):
            continue
        if keys[0] == "input" and not isinstance(row["output"], list):
            continue
        return f"rows have {' and '.join(keys)}"
    return None


def _sharegpt(row: Values, settings: ReadSettings) -> str | None:
    column = next((c for c in CONVERSATIONS if structured(row.get(c)) not in (None, "")), None)
    return None if column is None else f"rows have {column}"


def _alpaca(row: Values, settings: ReadSettings) -> str | None:
    rest = ("output",) if settings.answers else ("output", "input")
    beside = next((key for key in rest if key in row), None)
    if not isinstance(row.get("instruction"), str) or beside is None:
        return None
    return f"rows have instruction and {beside}"


def _completion(row: Values, settings: ReadSettings) -> str | None:
    if row.get("prompt") is None or row.get("completion") is None:
        return None
    return None if settings.columns.response in row else "rows have prompt and completion"


for _form in (
    LogForm(
        "batch",
        _batch,
        read_files=lambda paths, s: batch_records(paths, answers=s.answers),
        account=accounts.of_batch,
        of_its_own=True,
    ),
    LogForm(
        "litellm",
        _litellm,
        lambda row, s: read_litellm(row, whole_requests=s.whole_requests),
        account=accounts.of_litellm,
        of_its_own=True,
    ),
    LogForm(
        "serving",
        _serving,
        lambda row, s: read_served(row),
        account=account_served,
        of_its_own=True,
    ),
    LogForm("table", _table, lambda row, s: read_table(row, s.columns), account=accounts.of_row),
    LogForm("chat", _chat, lambda row, s: read_chat(row), account=accounts.of_chat),
    LogForm("sharegpt", _sharegpt, lambda row, s: read_sharegpt(row), account=accounts.of_row),
    LogForm("alpaca", _alpaca, lambda row, s: read_alpaca(row), account=accounts.of_row),
    LogForm(
        "completion", _completion, lambda row, s: read_completion(row), account=accounts.of_row
    ),
):
    register(_form)
