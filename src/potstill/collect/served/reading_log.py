"""What a server was given to read, on disk as it comes: what it was charged, and what came of it.

One line is some texts, by exchange id. No text of anybody is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from potstill.durable import append_line, read_lines
from potstill.endpoint.budget import Tokens
from potstill.errors import PotstillError
from potstill.exchanges.exchange import canonical_json

# Under this key stands the short text that tells whether a server reads at all.
PROBE = "probe"


@dataclass(frozen=True)
class Reading:
    """One text that was sent: the tokens it was charged with, and why it has no targets, if so."""

    tokens: Tokens
    reason: str | None = None


class ReadingLog:
    """The readings of one run, under one tokenizer.

    Raises PotstillError where the run began with another tokenizer: targets stand at the ids that
    it made.
    """

    def __init__(self, path: Path, tokenizer_id: str) -> None:
        self._path, self._tokenizer_id = path, tokenizer_id
        self.readings: dict[str, Reading] = {}
        self.spent = Tokens()
        for line in read_lines(path):
            if line.get("tokenizer") != tokenizer_id:
                raise PotstillError(
                    "student.model has another tokenizer or chat template than when the server "
                    "read this run's text; bring it back, or start over with --fresh"
                )
            rows = line["read"].items()
            self._take({key: Reading(Tokens(p, r), why) for key, (p, r, why) in rows})

    @property
    def reads(self) -> bool:
        """Whether anything was read with success."""
        return any(reading.reason is None for reading in self.readings.values())

    @property
    def without_targets(self) -> set[str]:
        """The texts that were read for nothing."""
        return {key for key, reading in self.readings.items() if reading.reason is not None}

    def add(self, readings: Mapping[str, Reading]) -> None:
        """Keep readings by exchange id, durable on return; raises PotstillError for a full disk."""
        if not readings:
            return
        rows = {k: [r.tokens.prompt, r.tokens.response, r.reason] for k, r in readings.items()}
        line = {"tokenizer": self._tokenizer_id, "read": rows}
        append_line(self._path, canonical_json(line))
        self._take(readings)

    def reasons(self, ids: Iterable[str]) -> list[str]:
        """Return why those of some texts that have no targets have none."""
        found = (self.readings.get(key) for key in ids)
        return [reading.reason for reading in found if reading is not None and reading.reason]

    def _take(self, readings: Mapping[str, Reading]) -> None:
        self.readings |= readings
        for reading in readings.values():
            self.spent += reading.tokens
