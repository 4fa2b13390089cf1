"""JSON schemas in recipes: what is refused, in words, and what a value does not fit."""

from __future__ import annotations

from typing import Any

import pytest

from potstill.recipe.json_schema import mismatch_of, schema_problem

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"$ref": "#/$defs/name"}, "n": {"type": "integer"}},
    "required": ["city"],
    "$defs": {"name": {"type": "string"}},
}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "object"}
    for _ in range(depth):
        schema = {"items": schema}
    return schema


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ([], "it must be an object"),
        ({"type": "objekt"}, "type breaks the rule `anyOf`"),
        ({"properties": {"a": {"minimum": "1"}}}, "properties.a.minimum breaks"),
        ({"pattern": "("}, "pattern breaks"),
        ({"required": "city"}, "required breaks"),
        ({"$ref": "https://example.org/s.json"}, "https://example.org/s.json leads out of it"),
        ({"items": {"$ref": "file:///etc/passwd"}}, "file:///etc/passwd leads out of it"),
        ({"$defs": {}, "$ref": "#/$defs/x"}, "#/$defs/x leads nowhere"),
        ({"$ref": "#"}, "refers to itself without end"),
        (nested(5000), "nested too deeply"),
    ],
)
def test_what_is_no_schema_is_said_in_words(schema, words):
    problem = schema_problem(schema)
    assert problem is not None
    assert words in problem
    assert "\n" not in problem


def test_a_sound_schema_has_no_problem_and_may_refer_into_itself():
    assert schema_problem(SCHEMA) is None
    # A property may be called like a keyword without being a reference.
    assert schema_problem({"properties": {"$ref": {"type": "string"}}}) is None


@pytest.mark.parametrize(
    ("value", "keyword"),
    [({"city": "Bonn"}, None), ({}, "required"), ({"city": 1}, "type"), ([], "type")],
)
def test_the_keyword_that_a_value_does_not_fit(value, keyword):
    assert mismatch_of(SCHEMA)(value) == keyword


def test_a_value_too_deep_to_judge_fits_nothing():
    tree: dict[str, Any] = {"properties": {"in": {"$ref": "#"}}}
    value: dict[str, Any] = {}
    for _ in range(5000):
        value = {"in": value}
    assert schema_problem(tree) is None
    assert mismatch_of(tree)(value) == "depth"
