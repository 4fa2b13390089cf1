"""What a server told of text that a student wrote while it was trained, on disk as it comes.

A training that goes on from its last checkpoint writes the same text again: what was told of it
is paid for, and here. One file is one group of answers; files that no checkpoint needs go. Token
ids and figures are written, no text.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Sequence
from pathlib import Path

from potstill.canonical import canonical_json
from potstill.durable import append_line, read_lines
from potstill.exchanges.codecs import decode, encode
from potstill.exchanges.rows import TargetKey, TargetRow
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.targets import ExchangeTargets, LikeliestTokens

_PREFIX, _SUFFIX = "group-", ".jsonl"


class OwnTargets:
    """Targets of a student's own text, by group and by the digest of what was read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._group = 0
        self._rows: dict[int, dict[TargetKey, TargetRow]] = {}
        for path in sorted(folder.glob(f"{_PREFIX}*{_SUFFIX}")):
            rows = [_row(values) for line in read_lines(path) for values in line.get("told", ())]
            self._rows[int(path.stem.removeprefix(_PREFIX))] = {row.key: row for row in rows}

    def begin(self, group: int) -> None:
        """Have what is stored from now on belong to a group."""
        self._group = group

    def append_targets(self, targets: Sequence[ExchangeTargets]) -> None:
        """Store targets, durable on return; raises PotstillError for a full disk."""
        rows = [encode(one) for one in targets]
        append_line(self._path(self._group), canonical_json({"told": [_told(r) for r in rows]}))
        self._rows.setdefault(self._group, {}).update({row.key: row for row in rows})

    def target_ids(self, scorer: str, spec: TargetSpec) -> set[str]:
        """Return of which texts a scorer's targets in a form are there."""
        return {
            text
            for rows in self._rows.values()
            for text, who, form in rows
            if (who, form) == (scorer, spec.name)
        }

    def targets(self, scorer: str, spec: TargetSpec, texts: Sequence[str]) -> list[LikeliestTokens]:
        """Return the targets of texts, in their order; KeyError where any has none."""
        known = {key: row for rows in self._rows.values() for key, row in rows.items()}
        found = [known[text, scorer, spec.name] for text in texts]
        values = [decode(spec, row.rows, row.dim, row.data) for row in found]
        return [one for one in values if isinstance(one, LikeliestTokens)]

    def forget_before(self, group: int) -> None:
        """Delete what belongs to earlier groups."""
        for number in [n for n in self._rows if n < group]:
            self._path(number).unlink(missing_ok=True)
            del self._rows[number]

    def _path(self, group: int) -> Path:
        return self._folder / f"{_PREFIX}{group:08d}{_SUFFIX}"


def _told(row: TargetRow) -> list[str | int]:
    return [*row.key, row.rows, row.dim, b64encode(row.data).decode()]


def _row(values: Sequence[str | int]) -> TargetRow:
    text, scorer, form, rows, dim, data = values
    return TargetRow(str(text), str(scorer), str(form), int(rows), int(dim), b64decode(str(data)))
