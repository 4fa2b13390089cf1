"""What the items of every test have in common: their place in the plan, and what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from potstill.errors import PotstillError
from potstill.trace.finding import TraceRecord

# What came of one question. What failed has no figures: coins of the plan stand for it, or, where
# a test's null hypothesis allows it, nothing does.
Outcome = Literal["answered", "refused", "error", "empty", "unreadable"]


class NumberedItem(TraceRecord):
    """One record of a raw log: `index` is its place in the plan, from 0 on."""

    index: int = Field(ge=0)


class TraceItem(NumberedItem):
    """A record of something that was asked, and may have failed."""

    outcome: Outcome

    @property
    def answered(self) -> bool:
        """Whether there is something to score."""
        return self.outcome == "answered"


def check_order(items: Sequence[NumberedItem], planned: int, *, whole: bool) -> None:
    """Raise PotstillError unless items are those of the plan, each once and in its order.

    `whole` asks for all that are planned; else they may end early. The sentence names the record.
    """
    for place, item in enumerate(items):
        if item.index >= planned:
            raise PotstillError(
                f"record {item.index} belongs to no question of the plan, which has {planned:,}; "
                "use the raw log that was written for this plan"
            )
        if item.index != place:
            raise PotstillError(
                f"record {place} of the raw log is missing or stands elsewhere (record "
                f"{item.index} is in its place); use the raw log as the run wrote it"
            )
    if whole and len(items) < planned:
        raise PotstillError(
            f"the raw log ends at record {len(items)} of {planned:,}, and this plan is not one "
            "that may stop early; finish the run first"
        )


def refuse_record(index: int, why: str) -> PotstillError:
    """Return the error that a record of the raw log cannot be what the run wrote."""
    return PotstillError(
        f"record {index} of the raw log {why}; use the raw log as the run wrote it"
    )
