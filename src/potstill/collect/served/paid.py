"""What asking took of which nothing is stored, on disk: a budget counts it in later calls too.

Answers that cannot be used, and tries that brought none but may have been charged for, have no row
in the store. One line is one call. No text of anybody is written.
"""

from __future__ import annotations

from pathlib import Path

from potstill.durable import append_line, read_lines
from potstill.endpoint.budget import Tokens
from potstill.exchanges.exchange import canonical_json


def paid_for_nothing(path: Path | None, teacher: str) -> Tokens:
    """Return what all calls so far took of a teacher without a row to show for it."""
    total = Tokens()
    for line in read_lines(path) if path is not None else []:
        if line.get("teacher") == teacher:
            total += Tokens(int(line.get("prompt", 0)), int(line.get("response", 0)))
    return total


def keep_paid(path: Path | None, teacher: str, tokens: Tokens) -> None:
    """Add what a call took, durable on return; raises PotstillError for a full disk."""
    if path is not None and tokens.total:
        line = {"teacher": teacher, "prompt": tokens.prompt, "response": tokens.response}
        append_line(path, canonical_json(line))
