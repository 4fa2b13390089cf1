"""When two JSON values are the same."""

from __future__ import annotations

from typing import Any


def same_json(one: Any, other: Any) -> bool:
    """Tell whether two values are equal as JSON: the order of keys is free, 1 is 1.0, not true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same_json(one[k], other[k]) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same_json, one, other))
    return bool(one == other)
