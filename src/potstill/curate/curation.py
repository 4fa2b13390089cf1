"""What curation found: a mark for every row, and counts of what each filter drops."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from potstill.errors import PotstillError
from potstill.exchanges.rows import Mark

FILTERS = (
    "invalid",
    "empty",
    "unrenderable",
    "too_long",
    "truncated",
    "refusal",
    "repetition",
    "language",
    "contaminated",
    "verify",
    "duplicate",
    "near_duplicate",
    "judge",
    "sample",
)
SPLITS = ("train", "validation", "held_out")


@dataclass(frozen=True)
class Verified:
    """What a verifier found among training rows that it got to see.

    `unknown` had no gold answer. `tokens` were generated for the rows that were checked, reasoning
    included; None where any count is missing.
    """

    checked: int
    correct: int
    unknown: int
    tokens: int | None

    @property
    def correct_per_1000_tokens(self) -> float | None:
        """Right answers for 1,000 generated tokens."""
        return 1000 * self.correct / self.tokens if self.tokens else None

    def record(self) -> dict[str, float | None]:
        """Return the counts as JSON values."""
        return {**asdict(self), "correct_per_1000_tokens": self.correct_per_1000_tokens}


@dataclass(frozen=True)
class CurationResult:
    """The judgement on every row.

    `marks` has one mark a row, sorted by exchange_id; the reason of a dropped one is
    `FILTER: why`. `dropped` counts training rows by the first filter that drops them, `alone` what
    each filter that ran would drop of them by itself (a judge: of the rows it was asked about),
    `elsewhere` the rows that are dropped of the other splits. `examples` holds ids for each
    filter, `notes` sentences for people.
    """

    marks: tuple[Mark, ...]
    train: int
    train_kept: int
    dropped: dict[str, int]
    alone: dict[str, int]
    examples: dict[str, tuple[str, ...]]
    verified: Verified | None = None
    judge: str | None = None
    scores: dict[str, float | None] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    elsewhere: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def kept(self) -> frozenset[str]:
        """The ids of all rows that are kept, of every split."""
        return frozenset(mark.exchange_id for mark in self.marks if mark.kept)

    def require_training_rows(self) -> None:
        """Raise PotstillError where no training row is left."""
        if self.train_kept:
            return
        if not self.train:
            raise PotstillError("there is no training response to curate; collect some first")
        most = max(self.dropped, key=lambda name: self.dropped[name])
        raise PotstillError(
            f"curation drops all {self.train} training responses, most of them by {most}; loosen "
            "that part of curate, or collect others"
        )

    def record(self) -> dict[str, Any]:
        """Return the counts as JSON values, for the run's record and the report."""
        return {
            "rows": len(self.marks),
            "kept": len(self.kept),
            "train": self.train,
            "train_kept": self.train_kept,
            "dropped": self.dropped,
            "alone": self.alone,
            "elsewhere": self.elsewhere,
            "examples": {name: list(ids) for name, ids in self.examples.items()},
            "verified": None if self.verified is None else self.verified.record(),
            "judge": self.judge,
            "notes": list(self.notes),
        }
