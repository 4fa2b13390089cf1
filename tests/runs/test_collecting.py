"""What a run knows of its collecting: failures worth asking again, rows that are lost."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from potstill.endpoint.wire import ANSWERED_IN_VAIN
from potstill.runs.collecting import rows_are_lost, some_failed
from potstill.work.evaluation import Overlap
from potstill.work.stage_records import CollectRecord, GivenAnswers, ServedAnswers, StoredRows

OVERLAP = Overlap(
    held_out=1, train=1, exact=0, near=0, dropped_from_training=0, method="none", threshold=1.0
)
NUMBERS: dict[str, Any] = {
    "exchanges": 3,
    "computed": 3,
    "response_tokens": 9,
    "seconds": 1.0,
    "tokens_per_s": 9.0,
}


def parts(figures: ServedAnswers | GivenAnswers | None, **stored: int) -> Any:
    """Return what is looked at of a run: its record of collecting, and what is stored now."""
    record = figures and CollectRecord(
        seconds=1.0,
        joules=None,
        figures=figures,
        overlap=OVERLAP,
        stored=StoredRows(exchanges=3, targets=2),
    )
    return SimpleNamespace(
        run=SimpleNamespace(done=lambda kind: record if kind is CollectRecord else None),
        store=SimpleNamespace(stats=lambda: {"exchanges": 3, "targets": 2, **stored}),
    )


def failed(*failures: tuple[str, str]) -> ServedAnswers:
    return ServedAnswers(**NUMBERS, money=None, failed={}, failures=failures, notes=())


@pytest.mark.parametrize("reason", sorted(ANSWERED_IN_VAIN))
def test_answers_that_would_come_again_are_asked_for_only_by_name(reason: str) -> None:
    assert some_failed(parts(failed(("p", reason))))
    assert not some_failed(parts(failed(("p", reason))), in_vain=False)
    assert some_failed(parts(failed(("p", reason), ("q", "HTTP 500"))), in_vain=False)


def test_nothing_failed_where_nothing_was_asked_or_all_was_answered() -> None:
    assert not some_failed(parts(None)) and not some_failed(parts(failed()))
    assert not some_failed(parts(GivenAnswers(**NUMBERS)))


def test_rows_are_lost_where_the_store_holds_less_than_was_left_there() -> None:
    whole = failed()
    assert not rows_are_lost(parts(None, exchanges=0, targets=0))
    assert not rows_are_lost(parts(whole)) and not rows_are_lost(parts(whole, exchanges=9))
    assert rows_are_lost(parts(whole, exchanges=2)) and rows_are_lost(parts(whole, targets=1))
