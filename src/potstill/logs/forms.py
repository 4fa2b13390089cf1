"""Which form a log has, told from the columns of its first rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from potstill.errors import PotstillError
from potstill.logs.call import Values
from potstill.logs.lines import BadRow, log_rows
from potstill.logs.rows import Row
from potstill.logs.values import as_dict

Form = Literal["chat", "batch", "litellm", "table"]

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
_CHAT = (("messages",), ("request", "response"), ("choices",))
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,39}")
_MOST_NAMED = 12


@dataclass(frozen=True)
class Detected:
    """The form of a log, and the words that say what shows it."""

    form: Form
    why: str


def detect(
    path: str,
    prompt_column: str = "prompt",
    response_column: str = "response",
    *,
    responses: bool = True,
) -> Detected:
    """Return which form a log has, and why, from its first rows.

    A table needs both columns, or only the prompt's where no `responses` are wanted.

    Raises PotstillError where it cannot be read, has no readable row, or could be several forms
    or none; the way out is to state `collect.calls.form`.
    """
    rows = first_rows(path)
    columns = (prompt_column, response_column) if responses else (prompt_column,)
    found: dict[Form, str] = {}
    for row in rows:
        found = {**_forms(row.values, columns), **found}
    name = _name(rows)
    if len(found) > 1:
        ways = "; ".join(f"{form} ({why})" for form, why in sorted(found.items()))
        raise PotstillError(
            f"the log of calls {name} could be of several forms: {ways}; state one with "
            "collect.calls.form"
        )
    for form, why in found.items():
        return Detected(form, why)
    raise PotstillError(
        f"the log of calls {name} is of no known form; its columns are: {columns_of(rows)}. State "
        "collect.calls.form, or name the columns with collect.calls.prompt_column and "
        "collect.calls.response_column"
    )


def first_rows(path: str) -> list[Row]:
    """Return the readable rows among the first of a log. Raises PotstillError if there are none."""
    first = list(islice(log_rows(path), _FIRST_ROWS))
    readable = [row for row in first if isinstance(row, Row)]
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


def require_column(rows: Sequence[Row], column: str, field: str) -> None:
    """Raise PotstillError unless some of the rows have a column; `field` names its setting."""
    if not any(column in row.values for row in rows):
        raise PotstillError(
            f"the log of calls {_name(rows)} has no column {column}; the columns there are: "
            f"{columns_of(rows)}. Set collect.calls.{field}"
        )


def columns_of(rows: Sequence[Row]) -> str:
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


def _name(rows: Sequence[Row]) -> str:
    return re.sub(r", (line|row) \d+$", "", rows[0].place)


def _forms(row: Values, table: Sequence[str]) -> dict[Form, str]:
    """Return every form that one row could have, with the columns that show it."""
    if "custom_id" in row and row.keys() & {"body", "response", "error"}:
        part = next(key for key in ("body", "response", "error") if key in row)
        return {"batch": f"rows have custom_id and {part}"}
    markers = sorted(row.keys() & _LITELLM)
    if row.keys() & {"request_id", "id"} and len(markers) >= _LITELLM_LEAST:
        return {"litellm": f"rows have {', '.join(markers[:_LITELLM_LEAST])}"}
    found: dict[Form, str] = {}
    if row.keys() >= set(table):
        found["table"] = f"rows have {' and '.join(table)}"
        if table[0] != "prompt":  # the recipe names the columns, so they are meant
            return found
    chat = next((keys for keys in _CHAT if row.keys() >= set(keys)), None)
    if chat is not None and ("request" not in chat or as_dict(row["request"])):
        found["chat"] = f"rows have {' and '.join(chat)}"
    return found
