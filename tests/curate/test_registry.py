"""Filters of one's own: registered, asked for by a recipe, run and counted as the others are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from curate_rows import exchange

from potstill.curate.curate import curate
from potstill.curate.curation import FILTERS
from potstill.curate.registry import NoSettings, filter_order, register, row_filters, unregister
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange
from potstill.recipe import CurateConfig
from potstill.recipe.io import dump_recipe, parse_recipe

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "curate.md"
BASE = "name: mine\nteacher:\n  model: some/model\n"


@pytest.fixture
def long_winded() -> Iterator[None]:
    """The page's own example."""
    (block,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    try:
        exec(block, {})
        yield
    finally:
        unregister("long_winded")


def refusal(*overrides: str) -> str:
    with pytest.raises(PotstillError) as caught:
        parse_recipe(BASE, "r.yaml", overrides)
    return str(caught.value)


def test_it_drops_rows_in_its_place(long_winded: None) -> None:
    rows = [exchange("a", "one two three"), exchange("b", "one"), exchange("c", "")]
    rows += [exchange("d", "one two three", split="held_out")]
    config = CurateConfig(filters={"long_winded": {"words": 2}}, exact_duplicates=True)
    found = curate(rows, config, text_only=True)
    reasons = {mark.exchange_id: mark.reason for mark in found.marks}
    assert reasons == {"a": "long_winded: 3 words", "b": "", "c": "empty: no answer", "d": ""}
    assert found.dropped["long_winded"] == found.alone["long_winded"] == 1
    assert list(found.dropped) == ["invalid", "empty", "truncated", "long_winded", "duplicate"]
    assert filter_order().index("long_winded") == FILTERS.index("language") + 1


def test_a_recipe_asks_for_it_and_comes_back(long_winded: None) -> None:
    recipe = parse_recipe(BASE, "r.yaml", ["curate.filters.long_winded={}"])
    assert recipe.curate.filters == {"long_winded": {"words": 100}}
    assert parse_recipe(dump_recipe(recipe), "again") == recipe
    assert "long_winded" in row_filters(recipe.curate, True)
    assert "long_winded" not in row_filters(CurateConfig(), True)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "{long_windet: {}}",
            "curate.filters names long_windet, which is not registered; there "
            "are long_winded (did you mean long_winded?)",
        ),
        ("{long_winded: {words: 0}}", "curate.filters.long_winded.words: must be greater than"),
        ("{long_winded: {wrods: 5}}", "curate.filters.long_winded.wrods: extra inputs are not"),
        ("{long_winded: 5}", "curate.filters.long_winded must be a mapping (key: value)"),
        ("[long_winded]", "curate.filters must be a mapping (key: value)"),
    ],
)
def test_what_a_filter_has_not_is_refused(override: str, words: str, long_winded: None) -> None:
    assert words in refusal(f"curate.filters={override}")


def test_without_any_there_is_none_to_ask_for() -> None:
    said = refusal("curate.filters={long_winded: {}}")
    assert "long_winded, which is not registered; register it before the recipe is read" in said
    assert filter_order() == FILTERS


def test_a_filter_without_settings() -> None:
    def shouting(row: Exchange, settings: NoSettings) -> str | None:
        return "in capitals" if row.response.isupper() else None

    register("shouting", shouting)
    try:
        found = curate(
            [exchange("a", "YES"), exchange("b", "yes")],
            CurateConfig(filters={"shouting": {}}),
            text_only=True,
        )
        assert found.kept == {"b"}
        with pytest.raises(ValueError, match=r"curate\.filters\.shouting\.x"):
            CurateConfig(filters={"shouting": {"x": 1}})
    finally:
        unregister("shouting")
    unregister("shouting")


@pytest.mark.parametrize("name", ["Loud", "a-b", "", "9", "x" * 41])
def test_names_that_cannot_be_a_filters(name: str) -> None:
    with pytest.raises(PotstillError, match="cannot name a filter"):
        register(name, _keep)


@pytest.mark.parametrize("name", ["language", "judge", "long_winded"])
def test_a_name_is_taken_once(name: str, long_winded: None) -> None:
    with pytest.raises(PotstillError, match=f"there is a filter named {name} already"):
        register(name, _keep)


@pytest.mark.parametrize("found", [True, False, 0])
def test_a_filter_that_gives_no_reason_is_refused(found: object) -> None:
    register("truth", lambda row, settings: found)  # type: ignore[arg-type, return-value]
    try:
        keeps = row_filters(CurateConfig.model_validate({"filters": {"truth": {}}}), False)["truth"]
        with pytest.raises(PotstillError, match=r"truth returned a (bool|int); have it"):
            keeps(exchange("q", "secret"))
    finally:
        unregister("truth")


def _keep(row: Exchange, settings: Any) -> str | None:
    return None
