"""What became of the rows of a file: counts by reason, and nothing of what was said."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Literal

from pydantic import Field

from potstill.text.counts import by_number
from potstill.work.workdir import Recorded

Counts = dict[str, int]
_LONG = timedelta(days=366)


class FileTally(Recorded):
    """What was found in one file.

    `rows` are all that stand in it, `kept` those that were taken; `aside` counts the others by
    reason. `unfit` counts values that fit no column, `filled` the kept rows that have a column,
    `accounts` by the field that named the account. `no_zone` rows state no zone of their time,
    `future` ones lie in the future, by at most `ahead_s` seconds, `past` ones more than a year
    before the middle one; `unnamed` ones have no name in the log.
    """

    rows: int = 0
    kept: int = 0
    aside: Counts = Field(default_factory=dict)
    unfit: Counts = Field(default_factory=dict)
    filled: Counts = Field(default_factory=dict)
    accounts: Counts = Field(default_factory=dict)
    days: Counts = Field(default_factory=dict)
    no_zone: int = 0
    future: int = 0
    ahead_s: float = 0.0
    past: int = 0
    unnamed: int = 0
    first: str | None = None
    last: str | None = None

    def notes(self) -> tuple[str, ...]:
        """Return in sentences what was set aside, and what is odd."""
        notes = [f"{count} set aside: {reason}" for reason, count in sorted(self.aside.items())]
        notes += [f"{count} values fit no column {name}" for name, count in self.unfit.items()]
        if len(self.accounts) > 1:
            named = ", ".join(f"{name} ({count})" for name, count in self.accounts.items())
            notes.append(
                f"the account is named by several fields: {named}; state one with "
                "--map account_id=FIELD if they are not of one kind"
            )
        if self.no_zone:
            notes.append(f"{self.no_zone} times state no zone, and were taken in that of --zone")
        if self.future:
            hours = self.ahead_s / 3600
            notes.append(
                f"{by_number(self.future, 'time lies', 'times lie')} in the future, by up to "
                f"{hours:.1f} hours: a clock or a zone is wrong"
            )
        if self.past:
            notes.append(
                f"{by_number(self.past, 'time lies', 'times lie')} more than a year before the "
                "middle one of the file: a clock was wrong, or the log is that long"
            )
        if self.unnamed:
            notes.append(
                f"{self.unnamed} rows have no request_id, so that repeats of them are not known"
            )
        return tuple(notes)


class RowCounts:
    """Counts while a file is read."""

    def __init__(self) -> None:
        self.rows = self.kept = self.no_zone = self.future = self.unnamed = 0
        self.ahead_s = 0.0
        self.first: str | None = None
        self.last: str | None = None
        self.by: dict[Literal["aside", "unfit", "filled", "accounts", "days"], Counter[str]] = {
            "aside": Counter(),
            "unfit": Counter(),
            "filled": Counter(),
            "accounts": Counter(),
            "days": Counter(),
        }

    def add(self, other: RowCounts) -> None:
        """Add the counts of further rows."""
        for name in ("rows", "kept", "no_zone", "future", "unnamed"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.ahead_s = max(self.ahead_s, other.ahead_s)
        self.first = min(filter(None, (self.first, other.first)), default=None)
        self.last = max(filter(None, (self.last, other.last)), default=None)
        for name, counts in other.by.items():
            self.by[name].update(counts)

    def tally(self) -> FileTally:
        """Return the counts as a record."""
        return FileTally(
            rows=self.rows,
            kept=self.kept,
            no_zone=self.no_zone,
            future=self.future,
            ahead_s=self.ahead_s,
            past=_long_past(self.by["days"]),
            unnamed=self.unnamed,
            first=self.first,
            last=self.last,
            **{name: _sorted(counts) for name, counts in self.by.items()},
        )


def _long_past(days: Mapping[str, int]) -> int:
    """Return how many times lie more than a year before the middle one."""
    seen = 0
    for day in sorted(days):
        seen += days[day]
        if 2 * seen >= sum(days.values()):
            first = (date.fromisoformat(day) - _LONG).isoformat()
            return sum(rows for one, rows in days.items() if one < first)
    return 0


def _sorted(counts: Mapping[str, int]) -> Counts:
    return {name: counts[name] for name in sorted(counts) if counts[name]}
