"""When two JSON values are the same: as answers, and to the letter."""

from __future__ import annotations

from typing import Any

import pytest

from potstill.text.same_json import same_json, same_value


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (2, 2.0, True),
        (1, True, False),
        (0, False, False),
        (0, None, False),
        ("2", 2, False),
        ([1, {"a": "B"}], [1, {"a": "b"}], True),
        ([1, 2], [2, 1], False),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": None}, {}, False),
        (None, None, True),
    ],
)
def test_json_values_are_equal_by_what_they_mean(one: Any, other: Any, equal: bool) -> None:
    assert same_value(one, other) is equal
    assert same_value(other, one) is equal


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (2, 2.0, True),
        (1, True, False),
        ("a", "A", False),
        ({"a": ["x", {"b": "y"}]}, {"a": ["x", {"b": "y"}]}, True),
        ({"a": ["x", {"b": "y"}]}, {"a": ["x", {"b": "y."}]}, False),
        ([1], [1, 2], False),
        ({"a": None}, {}, False),
    ],
)
def test_json_is_equal_to_the_letter(one: Any, other: Any, equal: bool) -> None:
    assert same_json(one, other) is same_json(other, one) is equal


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        ("Lima", "lima.", True),
        ({"city": "**Lima**"}, {"city": "Lima"}, True),
        ({"City": "Lima"}, {"city": "Lima"}, False),
        ("x²", "x2", False),
        ("-5", "5", False),
    ],
)
def test_texts_in_answers_are_equal_in_their_plain_form(one: Any, other: Any, equal: bool) -> None:
    assert same_value(one, other) is same_value(other, one) is equal
