"""Records stand in the order of the plan, each once."""

from __future__ import annotations

import pytest

from potstill.errors import PotstillError
from potstill.trace.items import TraceItem, check_order


def records(*places: int) -> list[TraceItem]:
    return [TraceItem(index=place, outcome="error") for place in places]


def test_records_of_the_plan_pass() -> None:
    check_order(records(0, 1, 2), 3, whole=True)
    check_order(records(0, 1), 3, whole=False)
    check_order([], 3, whole=False)


@pytest.mark.parametrize(
    ("places", "named"),
    [
        ((0, 2), "record 1 of the raw log is missing"),
        ((0, 0, 1), r"record 1 .* \(record 0 is in its place\)"),
        ((1, 0, 2), "record 0 of the raw log is missing or stands elsewhere"),
        ((0, 1, 3), "record 3 belongs to no question of the plan, which has 3"),
        ((0, 1), "ends at record 2 of 3"),
    ],
)
def test_gaps_doubles_and_strangers_are_named(places: tuple[int, ...], named: str) -> None:
    with pytest.raises(PotstillError, match=named):
        check_order(records(*places), 3, whole=True)
