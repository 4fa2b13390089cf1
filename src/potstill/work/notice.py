"""A page in plain words for somebody outside the field, before it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class NoticePart:
    """A heading with paragraphs, points of a list, and commands."""

    heading: str
    paragraphs: Sequence[str]
    points: Sequence[str] = ()
    commands: Sequence[str] = ()


@dataclass(frozen=True)
class Notice:
    """What the notice says, in order."""

    parts: Sequence[NoticePart]
