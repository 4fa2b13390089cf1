"""The learning rate where the number of steps changes on the way."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.recipe import TrainConfig
from potstill.train.schedule import learning_rate, scheduled
from potstill.work.time_plan import Leg


@given(st.integers(1, 500), st.data())
def test_one_leg_is_the_schedule_itself(total: int, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, total - 1))
    legs = (Leg(at=0, total=total),)
    assert scheduled(step, legs) == step
    config = TrainConfig(warmup=0.1)
    assert learning_rate(scheduled(step, legs), total, config) == learning_rate(step, total, config)


@given(st.integers(20, 400), st.data())
def test_later_legs_go_on_from_where_the_rate_is_and_end_where_it_ends(
    whole: int, data: st.DataObject
) -> None:
    legs, at, total = [Leg(at=0, total=whole)], 0, whole
    for _ in range(data.draw(st.integers(1, 4))):
        if total - at < 4:
            break
        at = data.draw(st.integers(at + 1, total - 2))
        total = data.draw(st.integers(at + 1, at + 300))
        legs.append(Leg(at=at, total=total))
    places = [scheduled(step, legs) for step in range(total)]
    steps = [b - a for a, b in pairwise(places)]
    assert places[0] == 0
    assert all(step > 0 for step in steps)
    assert places[-1] < whole
    # Just after the last step the schedule is over.
    after = places[-1] + (steps[-1] if len(legs) == 1 or legs[-1].at < total - 1 else 0)
    if legs[-1].at < total - 1:
        assert after == pytest.approx(whole)
    for leg in legs[1:]:
        # The leg before says where its next step stands, and so does this one.
        before = [one for one in legs if one.at < leg.at]
        assert scheduled(leg.at, legs) == pytest.approx(scheduled(leg.at, before))
