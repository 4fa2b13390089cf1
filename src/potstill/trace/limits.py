"""What each test found in controls of stated sizes: how far "not detected" reaches.

The table ships with potstill. It is made of the zoo, which is measured apart from any trace; a
plan takes from it what is about its own tests, so that the verdict can say what would have been
found, and of which sizes nothing is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from importlib import resources

from pydantic import Field, TypeAdapter

from potstill.trace.finding import TestName, TraceRecord
from potstill.trace.marks_in_choices import MarksInChoicesPlanned
from potstill.trace.marks_in_text import MarksInTextPlanned
from potstill.trace.registry import PlannedTest
from potstill.trace.twins import TwinsPlanned

LIMITS_FILE = "trace-limits.json"


class LimitPoint(TraceRecord):
    """Of controls of one kind, `of` of them, `found` were found; `scores` is the least n of theirs.

    `what` they are, in words; `share` is how much of their text was marked, or of the log served to
    them, where they learnt some.
    """

    what: str
    share: float | None = Field(None, gt=0, le=1)
    found: int = Field(ge=0)
    of: int = Field(ge=1)
    scores: int = Field(ge=0)


class MeasuredLimit(TraceRecord):
    """What one test found in controls of one size, at p `alpha`.

    Each has `parameters` weights, and those that learnt text learnt about `tokens` of it. Of
    `innocents`, of whom the claim is false, `innocents_found` were found. `measured` says where.
    """

    test: TestName
    parameters: int = Field(ge=1)
    tokens: int | None = Field(None, ge=1)
    alpha: float = Field(gt=0, lt=1)
    points: tuple[LimitPoint, ...] = Field(min_length=1)
    innocents_found: int = Field(0, ge=0)
    innocents: int = Field(0, ge=0)
    measured: str


class KnownLimit(MeasuredLimit):
    """A row of the table: about marks of `scheme` with these `settings`, or about twins of a log
    that is marked so; None of a log without a mark, and of tests that know no mark.
    """

    scheme: str | None = None
    settings: dict[str, float] = Field(default_factory=dict)


class DetectionLimit(MeasuredLimit):
    """What a plan holds of a row, for its test of a configuration."""

    configuration: str


@lru_cache(maxsize=1)
def packaged_limits() -> tuple[KnownLimit, ...]:
    """Return the table that ships with potstill."""
    text = (resources.files("potstill") / "data" / LIMITS_FILE).read_bytes()
    return TypeAdapter(tuple[KnownLimit, ...]).validate_json(text)


def limits_for(
    tests: Iterable[PlannedTest], known: Sequence[KnownLimit]
) -> tuple[DetectionLimit, ...]:
    """Return what is known of planned tests, in their order; nothing of other marks than theirs."""
    return tuple(
        DetectionLimit(
            configuration=planned.configuration,
            **row.model_dump(exclude={"scheme", "settings"}),
        )
        for planned in tests
        for row in known
        if row.test == planned.test and _about(row, planned)
    )


def limits_of(
    limits: Iterable[DetectionLimit], test: TestName, configuration: str
) -> list[DetectionLimit]:
    """Return those of one test of a plan."""
    return [one for one in limits if (one.test, one.configuration) == (test, configuration)]


def _about(row: KnownLimit, planned: PlannedTest) -> bool:
    if isinstance(planned, MarksInTextPlanned | MarksInChoicesPlanned):
        return (row.scheme, row.settings) == (planned.mark.scheme, planned.mark.parameters)
    if isinstance(planned, TwinsPlanned):
        return row.scheme == planned.marked_with
    return True
