"""A JSON object around the rows of a log, as exports of services and data sets write it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from potstill.errors import PotstillError
from potstill.logs.conversations import COLUMNS, like_message

# Keys of an object that is a call itself, or a part of one.
_OF_A_CALL = {
    *COLUMNS,
    *("request", "response", "completion", "choices", "input", "output", "body", "params"),
    *("custom_id", "result", "content", "proxy_server_request"),
}


def rows_around(value: Mapping[str, Any], name: str) -> list[Any] | None:
    """Return the rows of the one list that an object holds, None where it is a row itself.

    Raises PotstillError, with the file's `name`, where it holds several lists of rows, or columns
    of cells.
    """
    if value and all(map(_is_column, value.values())):
        raise PotstillError(
            f"the log of calls {name} holds columns of cells, where rows are needed; save it as "
            "records, or as .jsonl"
        )
    lists = [rows for rows in value.values() if _are_rows(rows)]
    if value.keys() & _OF_A_CALL or not lists:
        return None
    if len(lists) > 1:
        raise PotstillError(
            f"the log of calls {name} holds several lists of objects; save the one that is meant "
            "as a file of its own"
        )
    found: list[Any] = lists[0]
    return found


def _are_rows(value: Any) -> bool:
    """Tell whether a value is a list of objects that are no messages."""
    objects = isinstance(value, list) and value and all(isinstance(v, Mapping) for v in value)
    return bool(objects) and not all(map(like_message, value))


def _is_column(value: Any) -> bool:
    """Tell whether a value is a column as data frames write it: cells by the row's number."""
    return isinstance(value, Mapping) and bool(value) and all(key.isdigit() for key in value)
