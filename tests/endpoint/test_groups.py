"""Rows are stored in groups, counted once they are on the disk, and stopped without loss."""

from __future__ import annotations

import asyncio
import threading

import pytest

from potstill.endpoint.groups import GroupWriter


class Disk:
    """Where rows are stored; `slow` waits until it is told to go on."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.counted: list[int] = []
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.errors: list[Exception] = []

    @property
    def rows(self) -> list[int]:
        return [row for group in self.groups for row in group]

    def store(self, rows: list[int]) -> None:
        if self.errors:
            raise self.errors.pop()
        self.groups.append(rows)

    def slow(self, rows: list[int]) -> None:
        self.begun.set()
        assert self.go_on.wait(5)
        self.store(rows)


def test_rows_are_stored_in_groups_and_counted_once_each() -> None:
    disk = Disk()

    async def main() -> None:
        writer = GroupWriter(disk.store, disk.counted.extend)
        task = asyncio.create_task(writer.run())
        for row in range(100):
            writer.put([row])
        await asyncio.sleep(0)
        writer.finish()
        await task

    asyncio.run(main())
    assert disk.rows == disk.counted == list(range(100))
    assert len(disk.groups) <= 4


def test_a_few_rows_wait_for_a_moment_only() -> None:
    disk = Disk()

    async def main() -> None:
        writer = GroupWriter(disk.store, disk.counted.extend)
        task = asyncio.create_task(writer.run())
        writer.put([1, 2])
        async with asyncio.timeout(5):
            while not disk.counted:
                await asyncio.sleep(0.02)
        assert not task.done()
        writer.finish()
        await task

    asyncio.run(main())
    assert disk.groups == [[1, 2]]


def test_a_cancellation_at_any_moment_stores_what_was_handed_over_once() -> None:
    disk = Disk()

    async def main() -> None:
        writer = GroupWriter(disk.slow, disk.counted.extend)
        task = asyncio.create_task(writer.run())
        await asyncio.sleep(0)
        writer.put(range(32))
        await asyncio.to_thread(disk.begun.wait)
        writer.put(range(32, 40))
        task.cancel()
        disk.go_on.set()
        async with asyncio.timeout(5):
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(main())
    # What a thread was storing at that moment is not stored again: a store may charge for it.
    assert disk.rows == disk.counted == list(range(40))


def test_a_cancellation_beside_a_full_group_is_not_swallowed() -> None:
    disk = Disk()

    async def main() -> None:
        writer = GroupWriter(disk.store, disk.counted.extend)
        task = asyncio.create_task(writer.run())
        await asyncio.sleep(0)
        writer.put(range(32))
        task.cancel()
        async with asyncio.timeout(5):
            await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    asyncio.run(main())
    assert disk.rows == list(range(32))


@pytest.mark.parametrize("told", [True, False])
def test_what_an_error_keeps_from_the_disk_is_there_to_flush(told: bool) -> None:
    disk, heard = Disk(), list[Exception]()
    disk.errors = [OSError("full")]

    async def main() -> None:
        writer = GroupWriter(disk.store, disk.counted.extend, heard.append if told else None)
        writer.put([1, 2, 3])
        writer.finish()
        if told:
            await writer.run()
        else:
            with pytest.raises(OSError, match="full"):
                await writer.run()
        writer.put([4])
        assert disk.counted == []
        writer.flush()
        writer.flush()

    asyncio.run(main())
    assert [str(error) for error in heard] == (["full"] if told else [])
    assert disk.groups == [[1, 2, 3, 4]] and disk.counted == [1, 2, 3, 4]
