"""When two JSON values are the same."""

from __future__ import annotations

from collections.abc import Callable
from operator import eq
from typing import Any

from potstill.text.forms import plain


def same_json(one: Any, other: Any) -> bool:
    """Tell whether two values are equal as JSON: the order of keys is free, 1 is 1.0, not true."""
    return _same(one, other, eq)


def same_value(one: Any, other: Any) -> bool:
    """Tell whether two values say the same: as `same_json`, but texts in their plain form.

    Answers are compared by it (`potstill.text.forms`): "Lima" is "lima.", and "2" is not 2.
    """
    return _same(one, other, _same_text)


def _same(one: Any, other: Any, same_text: Callable[[str, str], bool]) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return same_text(one, other)
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k], same_text) for k in one)
    if isinstance(one, list) and isinstance(other, list):
        pairs = zip(one, other, strict=False)
        return len(one) == len(other) and all(_same(*pair, same_text) for pair in pairs)
    return bool(one == other)


def _same_text(one: str, other: str) -> bool:
    return plain(one) == plain(other)
