"""What the C library is told about freed memory."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

from potstill.models import memory


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[object, ...]]]:
    calls: list[tuple[object, ...]] = []

    def function(name: str) -> Callable[..., None]:
        return lambda *arguments: calls.append((name, *arguments))

    monkeypatch.setattr(memory, "_from_libc", function)
    memory.keep_freed.cache_clear()
    yield calls
    memory.keep_freed.cache_clear()


def test_freed_memory_goes_back_at_once(told: list[tuple[object, ...]]) -> None:
    memory.release_freed()
    assert told == [("malloc_trim", 0)]


def test_small_blocks_are_kept_from_the_first_call_on(told: list[tuple[object, ...]]) -> None:
    memory.keep_freed()
    memory.keep_freed()
    blocks = 32 * 2**20
    # malloc.h: M_MMAP_THRESHOLD is -3 and M_TRIM_THRESHOLD is -1.
    assert told == [("mallopt", -3, blocks), ("mallopt", -1, 2 * blocks)]


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_other_c_libraries_are_told_nothing(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    memory.keep_freed.cache_clear()
    memory.release_freed()
    memory.keep_freed()
    memory.keep_freed.cache_clear()
