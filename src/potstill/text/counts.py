"""Numbers of things in words."""

from __future__ import annotations


def by_number(count: int, one: str, more: str) -> str:
    """Return a count and what goes on after it: `one` after 1, `more` after any other."""
    return f"{count} {one if count == 1 else more}"
