"""The filters that judge each row by itself: potstill's own, and those that users register.

`register` adds one with settings of its own; a recipe asks for it in `curate.filters`. Those of
potstill have fields of their own in the recipe, and stand in the same table.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from potstill.curate import filters
from potstill.curate.curation import FILTERS
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange
from potstill.recipe import CurateConfig, Section
from potstill.recipe.curating import FILTER_SETTINGS

RowFilter = Callable[[Exchange], str | None]
"""Returns why an exchange is dropped, without quoting it; None where it is kept."""
Make = Callable[[CurateConfig, bool], RowFilter | None]
"""Returns a filter as a recipe wants it, None where it asks for none; the truth value says whether
the student learns from text alone."""
S = TypeVar("S", bound=Section)

_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
# Those of users come behind potstill's, before what looks at other texts and rows.
_LAST_OF_ROWS = "language"


class NoSettings(Section):
    """The settings of a filter that has none."""


_TABLE: dict[str, Make] = {}


def register(
    name: str, check: Callable[[Exchange, S], str | None], settings: type[S] | None = None
) -> None:
    """Let recipes ask for a filter, `curate.filters: {name: {setting: value}}`.

    `check` returns why it drops an exchange (never in its words), or None; it sees training rows
    alone, and its settings as the class has read them. Raises PotstillError where the name is
    taken, or cannot be one.
    """
    if not _NAME.fullmatch(name):
        raise PotstillError(
            f"{name!r} cannot name a filter; take lower-case letters, digits and underscores"
        )
    if name in FILTERS or name in FILTER_SETTINGS:
        raise PotstillError(f"there is a filter named {name} already; give yours another name")
    kind = NoSettings if settings is None else settings
    FILTER_SETTINGS[name] = kind

    def make(config: CurateConfig, text_only: bool) -> RowFilter | None:
        given = config.filters.get(name)
        if given is None:
            return None
        read = kind.model_validate(given)
        return lambda exchange: _reason(name, check(exchange, read))  # type: ignore[arg-type]

    _TABLE[name] = make


def _reason(name: str, found: object) -> str | None:
    """Return why a user's filter drops an exchange; a truth value would drop what it should not."""
    if found is None or isinstance(found, str):
        return found
    raise PotstillError(
        f"the filter {name} returned a {type(found).__name__}; have it return why it drops an "
        "exchange, as text, or None where it keeps it"
    )


def unregister(name: str) -> None:
    """Take a user's filter out again; one that is not there needs nothing."""
    if FILTER_SETTINGS.pop(name, None) is not None:
        del _TABLE[name]


def filter_order() -> tuple[str, ...]:
    """Return the names of all filters, in the order in which they run."""
    behind = FILTERS.index(_LAST_OF_ROWS) + 1
    return (*FILTERS[:behind], *FILTER_SETTINGS, *FILTERS[behind:])


def row_filters(config: CurateConfig, text_only: bool) -> dict[str, RowFilter]:
    """Return the filters that a recipe asks for, by name."""
    made = {name: make(config, text_only) for name, make in _TABLE.items()}
    return {name: one for name, one in made.items() if one is not None}


def _truncated(config: CurateConfig, text_only: bool) -> RowFilter:
    return partial(filters.truncated, how=config.truncated, text_only=text_only)


def _language(config: CurateConfig, text_only: bool) -> RowFilter | None:
    if not config.languages:
        return None
    return partial(
        filters.wrong_language,
        languages=config.languages,
        confidence=config.language_confidence,
    )


_TABLE |= {
    "invalid": lambda config, text_only: filters.invalid,
    "empty": lambda config, text_only: filters.empty,
    "truncated": _truncated,
    "refusal": lambda config, _: filters.refusing if config.refusals == "drop" else None,
    "repetition": lambda config, _: filters.repetitive if config.repetition == "drop" else None,
    "language": _language,
}
