"""What a server was given to read, on disk as it comes: what it was charged, and what came of it.

One line is some texts, by exchange id. No text of anybody is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from potstill.canonical import canonical_json
from potstill.durable import append_line, read_lines
from potstill.endpoint.budget import Tokens
from potstill.errors import PotstillError

# Under this key stands the short text that tells whether a server reads at all.
PROBE = "probe"
# With this begin the keys of what a student wrote while it was trained, and of what else that took.
OWN = "own/"
# Under this key stands what tries for such text may have been charged with, that brought nothing.
OWN_UNCERTAIN = f"{OWN}uncertain"


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
        self.spent = self.spent_on_own = Tokens()
        self.own_texts = 0
        for line in read_lines(path):
            if line.get("tokenizer") != tokenizer_id:
                raise PotstillError(
                    "student.model has another tokenizer or chat template than when the server "
                    "read this run's text; bring it back, or start over with --fresh"
                )
            rows = line["read"].items()
            self._take({key: Reading(Tokens(p, r), why) for key, (p, r, why) in rows})

    @property
    def spent_on_answers(self) -> Tokens:
        """What it was charged for all but a student's own text."""
        return self.spent - self.spent_on_own

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
        for key, reading in readings.items():
            self.spent += reading.tokens
            if key.startswith(OWN):
                self.spent_on_own += reading.tokens
                self.own_texts += key != OWN_UNCERTAIN


def texts_read(path: Path) -> int:
    """Return how many answers a server was given to read, by the log at `path`."""
    return len(_keys(path, own=False) - {PROBE})


def own_texts_read(path: Path) -> int:
    """Return how many texts that a student wrote it was given to read, by the log at `path`."""
    return len(_keys(path, own=True) - {OWN_UNCERTAIN})


def _keys(path: Path, *, own: bool) -> set[str]:
    lines = read_lines(path)
    keys = {key for line in lines for key in line.get("read", ())}
    return {key for key in keys if key.startswith(OWN) == own}
