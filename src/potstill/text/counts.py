"""Numbers of things in words."""

from __future__ import annotations


def by_number(count: int, one: str, more: str) -> str:
    """Return a count and what goes on after it: `one` after 1, `more` after any other."""
    return f"{count} {one if count == 1 else more}"


def many(count: int, noun: str) -> str:
    """Return a count with its noun, which takes an s after any number but 1."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
