"""A prompt's text over the columns of a row."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from typing import Any

from potstill.errors import PotstillError

_FIELD = "collect.calls.template"


def template_columns(template: str, field: str = _FIELD) -> tuple[str, ...]:
    """Return the columns that a template names; `field` is its setting.

    Raises PotstillError where it cannot be read.
    """
    try:
        parts = list(string.Formatter().parse(template))
    except ValueError as error:
        raise PotstillError(
            f"{field} cannot be read ({error}); write columns as {{name}} and double the braces "
            "that are meant as text"
        ) from None
    names = [(name, spec, conversion) for _, name, spec, conversion in parts if name is not None]
    # Plain names only: `{a.b}` and `{a[0]}` would reach into Python objects.
    if any(not name.isidentifier() or spec or conversion for name, spec, conversion in names):
        raise PotstillError(
            f"{field} may only hold plain column names, like {{body}}; double the braces that "
            "are meant as text"
        )
    if not names:
        raise PotstillError(f"{field} names no column; write columns as {{name}}")
    return tuple(dict.fromkeys(name for name, _, _ in names))


def filled_in(template: str, row: Mapping[str, Any]) -> str | None:
    """Return a template's text for a row, an empty cell as nothing.

    None where a column is not there, or holds neither text nor a number.
    """
    values: dict[str, str] = {}
    for name in template_columns(template):
        value = row.get(name, ...)
        if value is not None and not isinstance(value, str | int | float):
            return None
        values[name] = "" if value is None else str(value)
    return template.format(**values)


def without_template(template: str | None) -> Callable[[str], str]:
    """Return what gives a template's text without the template's own words, columns alone.

    Text that the template did not make stays as it is, and so does all without a template.
    """
    if template is None:
        return str
    first, others = "", list[str]()
    for literal, name, _, _ in string.Formatter().parse(template.strip()):
        first, others = _followed(first, others, literal)
        if name is not None:
            others.append("")
    return lambda text: _columns_of(text.strip(), first, others)


def _followed(first: str, others: list[str], literal: str) -> tuple[str, list[str]]:
    """Return the words of a template with more at their end (doubled braces part them)."""
    if not others:
        return first + literal, others
    return first, [*others[:-1], others[-1] + literal]


def _columns_of(text: str, first: str, others: list[str]) -> str:
    """Return what stands between the words of a template: `first`, then `others`, the last one
    at the end."""
    if not others or not text.startswith(first):
        return text
    at, values = len(first), []
    for words in others[:-1]:
        found = text.find(words, at)
        if found < 0:
            return text
        values.append(text[at:found])
        at = found + len(words)
    end = len(text) - len(others[-1])
    if end < at or not text.endswith(others[-1]):
        return text
    return "\n".join([*values, text[at:end]])
