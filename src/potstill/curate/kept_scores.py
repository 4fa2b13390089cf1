"""A judge's scores on disk, kept as they come: a killed run asks only for those that are missing.

One line is one part of the answers: the key of what was asked, and scores by the key of what was
judged. Keys are digests, so that no text of anybody is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from potstill.canonical import canonical_json, digest_of_bytes, spaced_json
from potstill.durable import append_line, read_lines
from potstill.exchanges.exchange import Exchange
from potstill.text.turns import Message


def question_key(identity: str, question: Sequence[Message]) -> str:
    """Return the digest of who is asked and how: another judge or rubric has another."""
    return _digest([identity, list(question)])


def answer_key(row: Exchange) -> str:
    """Return the digest of what is judged.

    The response is part of it: a server that is asked again gives the same exchange another one.
    """
    return _digest([row.exchange_id, row.response, *([row.tool_calls] if row.tool_calls else [])])


def keep(path: Path, asked: str, scores: Mapping[str, float | None]) -> None:
    """Add scores by answer key, durable on return; None is a score that could not be read.

    Raises `PotstillError` for a full disk or a missing permission.
    """
    append_line(path, canonical_json({"asked": asked, "scores": dict(scores)}))


def kept(path: Path, asked: str) -> dict[str, float | None]:
    """Return the scores that were kept of a question; a half line, left by a kill, is none."""
    found: dict[str, float | None] = {}
    for part in read_lines(path):
        if part.get("asked") == asked:
            found |= part["scores"]
    return found


def _digest(value: list[Any]) -> str:
    # Text may hold half a surrogate pair, which canonical JSON has no bytes for.
    return digest_of_bytes(spaced_json(value, ascii_only=True))
