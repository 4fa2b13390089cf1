"""Names that a field takes: refused as a Literal refuses, and shown as one."""

from __future__ import annotations

from typing import Annotated, Literal

import pytest
from pydantic import Field, ValidationError

from potstill.recipe.docs import rows
from potstill.recipe.names import Names
from potstill.recipe.section import Section

NAMES = Names("a", "b", "c")


class Open(Section):
    field: Annotated[str, NAMES] = Field("a", description="One of some.")


class Closed(Section):
    field: Literal["a", "b", "c"] = Field("a", description="One of some.")


@pytest.mark.parametrize("given", ["d", 5, None, ["a"], {"a": 1}])
def test_other_values_are_refused_in_the_same_words(given: object) -> None:
    found = []
    for section in (Open, Closed):
        with pytest.raises(ValidationError) as caught:
            section.model_validate({"field": given})
        (error,) = caught.value.errors(include_url=False)
        found.append((error["type"], error["msg"], error["loc"], error["input"]))
    assert found[0] == found[1]


def test_it_is_written_and_documented_in_the_same_way() -> None:
    assert Open(field="b").model_dump(mode="json") == {"field": "b"}
    schemas = [section.model_json_schema()["properties"] for section in (Open, Closed)]
    assert schemas[0] == schemas[1]
    assert rows(Open) == rows(Closed)


def test_a_name_is_taken_for_as_long_as_it_is_there() -> None:
    NAMES.add("mine")
    try:
        assert "mine" in NAMES
        assert Open(field="mine").field == "mine"
        assert rows(Open)[0].kind == "`a` or `b` or `c` or `mine`"
    finally:
        NAMES.remove("mine")
    NAMES.remove("mine")
    assert [*NAMES] == ["a", "b", "c"]
    with pytest.raises(ValidationError):
        Open(field="mine")
