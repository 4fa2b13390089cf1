"""Threads change no order, take few items ahead, and hide no error."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np  # noqa: F401 - brings its linear algebra with it
import pytest
from threadpoolctl import threadpool_info

from potstill.watch.threads import WORKERS, in_order


def test_results_come_in_order_and_few_items_are_taken_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(12):
            taken.append(number)
            yield number

    def slow(number: int) -> int:
        time.sleep(0.002 * (number % 3))
        return number * number

    found = []
    for result in in_order(slow, items()):
        assert len(taken) <= len(found) + WORKERS + 1
        found.append(result)
    assert found == [number * number for number in range(12)]


def test_an_error_comes_where_its_item_was() -> None:
    found = in_order(lambda number: 1 // number, iter((2, 1, 0)))
    assert next(found) == 0 and next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_linear_algebra_has_one_thread_meanwhile() -> None:
    def threads(_: int) -> set[int]:
        found: list[dict[str, Any]] = threadpool_info()
        return {one["num_threads"] for one in found if one["user_api"] == "blas"}

    before = threads(0)
    assert list(in_order(threads, iter(range(3)))) == [{1}] * 3
    assert threads(0) == before
