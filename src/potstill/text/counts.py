"""Numbers of things, and lists of them, in words."""

from __future__ import annotations

from collections.abc import Iterable


def by_number(count: int, one: str, more: str) -> str:
    """Return a count and what goes on after it: `one` after 1, `more` after any other."""
    return f"{count} {one if count == 1 else more}"


def many(count: int, noun: str) -> str:
    """Return a count with its noun, which takes an s after any number but 1."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def listed(names: Iterable[str]) -> str:
    """Return names as a sentence lists them, `a, b and c`; nothing for none."""
    *others, last = list(names) or [""]
    return f"{', '.join(others)} and {last}" if others else last
