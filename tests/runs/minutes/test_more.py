"""What more time would have bought, from curves whose end is known."""

from __future__ import annotations

import pytest

from potstill.runs.minutes.more import more_time


def test_the_next_doubling_of_a_falling_curve_lies_within_what_is_said() -> None:
    for power in (0.3, 0.7, 1.5):
        curve = [(float(s), 0.2 + 0.1 * (1 + s) ** -power) for s in range(0, 101, 10)]
        found = more_time(curve, 2.0)
        assert found is not None
        bought = curve[-1][1] - (0.2 + 0.1 * 201**-power)
        assert 0 <= bought <= found.last_doubling
        assert found.seconds == 200.0
        assert found.last_doubling == pytest.approx(curve[5][1] - curve[10][1])


@pytest.mark.parametrize(
    "curve",
    [
        [],
        [(0.0, 1.0), (10.0, 0.5)],
        [(0.0, 1.0), (50.0, 0.5), (100.0, 0.6)],
        [(0.0, 1.0), (25.0, 0.98), (50.0, 0.95), (100.0, 0.5)],
        [(0.0, 1.0), (1.0, 0.9), (100.0, 0.5)],
    ],
)
def test_a_curve_that_tells_nothing_is_not_drawn_on(curve: list[tuple[float, float]]) -> None:
    assert more_time(curve, 1.0) is None
