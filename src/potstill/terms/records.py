"""The one line of terms that is stored with every exchange: written, and read back."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import get_args

from pydantic import BaseModel, ConfigDict

from potstill.terms.facts import TermsOutcome

OWN_DATA = "own data"
OWN_WEIGHTS = "own weights"
NO_LICENCE = "no licence stated"
BY_CALLER = "not made by the gate"
BY_HANDED_IN = "by evidence that was handed in"

_LINE = re.compile(r"(?P<outcome>[a-z]+): (?P<licences>.*?)(?:; facts (?P<rest>.*))?", re.DOTALL)
_PERMITTED: tuple[TermsOutcome, ...] = ("allow", "conditions")


class RowTerms(BaseModel):
    """The terms of some rows: their line as it was stored, and how many rows have it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    line: str
    rows: int

    @property
    def outcome(self) -> TermsOutcome:
        """The outcome; unknown where the line cannot be read, or no gate made it."""
        parts = _LINE.fullmatch(self.line)
        outcome = None if parts is None else parts["outcome"]
        known: TermsOutcome | None = next((n for n in get_args(TermsOutcome) if n == outcome), None)
        if known is None or (known in _PERMITTED and self._not_gated):
            return "unknown"
        return known

    @property
    def licences(self) -> tuple[str, ...]:
        """The licences, as the line names them; its own words where it cannot be read."""
        parts = _LINE.fullmatch(self.line)
        if parts is None or not parts["licences"]:
            return (f"rows with terms that cannot be read ({self.line[:40]})",)
        named = tuple(name for name in parts["licences"].split(", ") if name)
        return (*named, "a decision that no gate made") if self._not_gated else named

    @property
    def refused(self) -> bool:
        """Whether these terms permitted nothing, and no authorisation did."""
        return self.outcome not in _PERMITTED and "; authorisation blake3:" not in self.line

    @property
    def _not_gated(self) -> bool:
        # What a caller said in place of the files is no more the gate's than its own decision is.
        return f"; {BY_CALLER}" in self.line or f"; {BY_HANDED_IN}" in self.line


def line_of(
    outcome: TermsOutcome, licences: Sequence[str], version: str, more: Iterable[str]
) -> str:
    """Return the line that is stored with every exchange."""
    named = ", ".join(licences) or NO_LICENCE
    return "; ".join([f"{outcome}: {named}", f"facts {version}", *more])
