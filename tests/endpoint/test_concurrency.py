"""The number in flight: grows only when saturated, cuts once an episode, never passes the limit."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from potstill.endpoint.concurrency import InFlightLimit, Slots


def epoch(limit: InFlightLimit, latency_s: float = 1.0, *, saturated: bool = True) -> None:
    episode, count = limit.begun(), limit.limit
    for _ in range(count):
        limit.answered(episode, latency_s, count if saturated else 0)


def test_it_grows_by_equal_steps_while_saturated() -> None:
    limit = InFlightLimit(64, start=8)
    sizes = []
    for _ in range(4):
        epoch(limit)
        sizes.append(limit.limit)
    assert sizes == [12, 16, 20, 24]
    for _ in range(40):
        epoch(limit)
    assert limit.limit == 64


def test_it_does_not_grow_where_nothing_waits() -> None:
    limit = InFlightLimit(64, start=8)
    for _ in range(10):
        epoch(limit, saturated=False)
    assert limit.limit == 8


def test_one_cut_an_episode() -> None:
    limit = InFlightLimit(64, start=40)
    before = [limit.begun() for _ in range(40)]
    for episode in before:
        limit.congested(episode)
    assert limit.limit == 28
    limit.congested(limit.begun())
    assert limit.limit == 19


def test_answers_from_before_a_cut_do_not_grow_it() -> None:
    limit = InFlightLimit(64, start=40)
    episode = limit.begun()
    limit.congested(episode)
    for _ in range(200):
        limit.answered(episode, 1.0, 40)
    assert limit.limit == 28


def test_latency_stops_growth_and_then_cuts() -> None:
    limit = InFlightLimit(64, start=16)
    epoch(limit, 1.0)
    grown = limit.limit
    epoch(limit, 6.0)
    assert limit.limit == grown
    epoch(limit, 20.0)
    assert limit.limit == int(grown * 0.7)


def test_a_server_that_stays_slower_is_no_longer_slow() -> None:
    limit = InFlightLimit(64, start=16)
    epoch(limit, 1.0)
    grown = limit.limit
    for _ in range(200):
        epoch(limit, 5.0)
    assert limit.limit > grown


@given(
    st.integers(1, 100),
    st.lists(st.tuples(st.booleans(), st.floats(0, 1e6), st.integers(0, 100)), max_size=300),
)
def test_it_stays_between_one_and_the_most(
    highest: int, events: list[tuple[bool, float, int]]
) -> None:
    limit = InFlightLimit(highest)
    for good, latency, in_flight in events:
        if good:
            limit.answered(limit.begun(), latency, in_flight)
        else:
            limit.congested(limit.begun())
        assert 1 <= limit.limit <= highest


def test_no_more_than_the_limit_are_let_in_and_all_get_their_turn() -> None:
    async def main() -> tuple[int, list[int]]:
        slots = Slots(InFlightLimit(3, start=3))
        served = []

        async def one(number: int) -> None:
            async with slots.slot():
                assert slots.in_flight <= 3
                await asyncio.sleep(0.001)
                served.append(number)

        await asyncio.gather(*(one(i) for i in range(20)))
        assert slots.in_flight == 0
        return slots.most_in_flight, served

    most, served = asyncio.run(main())
    assert most == 3
    assert served == list(range(20))


def test_a_cancelled_waiter_keeps_no_slot() -> None:
    async def main() -> int:
        slots = Slots(InFlightLimit(1))
        release = asyncio.Event()

        async def hold() -> None:
            async with slots.slot():
                await release.wait()

        holder = asyncio.create_task(hold())
        await asyncio.sleep(0)
        waiters = [asyncio.create_task(hold()) for _ in range(3)]
        await asyncio.sleep(0)
        release.set()
        waiters[0].cancel()
        await asyncio.sleep(0)
        waiters[1].cancel()
        await asyncio.gather(holder, *waiters, return_exceptions=True)
        async with asyncio.timeout(1), slots.slot():
            pass
        return slots.in_flight

    assert asyncio.run(main()) == 0
