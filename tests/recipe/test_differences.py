"""Where nested values differ."""

from __future__ import annotations

from potstill.recipe.differences import Difference, differences


def test_each_differing_key_is_named_with_both_values() -> None:
    there = {"b": {"x": 1, "y": [1]}, "a": "é", "old": True, "none": None, "empty": {}}
    here = {"b": {"x": 2, "y": [1]}, "a": "e", "new": {"deep": 0.5}, "empty": {}}
    assert differences(there, here) == [
        Difference("a", '"é"', '"e"'),
        Difference("b.x", "1", "2"),
        Difference("new.deep", "not set", "0.5"),
        Difference("old", "true", "not set"),
    ]
    assert differences(there, there) == []
