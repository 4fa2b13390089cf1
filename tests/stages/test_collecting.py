"""Which failures are worth asking again."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from potstill.endpoint.wire import ANSWERED_IN_VAIN
from potstill.stages.collecting import some_failed


def job(failures: list[list[str]] | None) -> Any:
    record = None if failures is None else {"figures": {"failures": failures}}
    return SimpleNamespace(run=SimpleNamespace(done=lambda name: record))


@pytest.mark.parametrize("reason", sorted(ANSWERED_IN_VAIN))
def test_answers_that_would_come_again_are_asked_for_only_by_name(reason: str) -> None:
    assert some_failed(job([["p", reason]]))
    assert not some_failed(job([["p", reason]]), in_vain=False)
    assert some_failed(job([["p", reason], ["q", "HTTP 500"]]), in_vain=False)


def test_nothing_failed_where_nothing_was_asked_or_all_was_answered() -> None:
    assert not some_failed(job(None)) and not some_failed(job([]))
