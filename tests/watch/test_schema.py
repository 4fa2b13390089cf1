"""The schema is what its page says, and every signal's needs are columns of it."""

from __future__ import annotations

from pathlib import Path

from potstill.watch.schema import (
    ACCOUNTS,
    MADE,
    REQUESTS,
    SIGNALS,
    SKETCHES,
    names_of,
    switched_off,
)
from potstill.watch.schema_docs import reference_page

PAGE = Path(__file__).parents[2] / "docs/reference/traffic.md"


def test_the_page_is_made_from_the_schema() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference_page(), "run make docs"


def test_every_column_has_one_name() -> None:
    names = names_of((*REQUESTS, *MADE, *SKETCHES))
    assert len(set(names)) == len(names) and len(set(names_of(ACCOUNTS))) == len(ACCOUNTS)


def test_signals_need_columns_that_are_there() -> None:
    for needs in SIGNALS:
        assert {n for names in needs.requests for n in names} <= set(names_of(REQUESTS))
        assert {n for names in needs.accounts for n in names} <= set(names_of(ACCOUNTS))


def test_nothing_is_off_where_everything_is_there() -> None:
    assert switched_off(names_of(REQUESTS), names_of(ACCOUNTS)) == {}
    off = switched_off(("account_id", "time"), ())
    assert "synchrony" not in off
    assert off["shared network of accounts"] == ("accounts.subnet or asn",)
