"""When a request is tried again: every spelling of Retry-After, and back-off that spreads."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from potstill.endpoint.retry import back_off_s, retry_after_s, verdict_of, wait_s

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "20"}, 20.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"Retry-After": ".5"}, 0.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "1m30s"}, 90.0),
        ({"Retry-After": "250ms"}, 0.25),
        ({"Retry-After": "Wed, 25 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"Retry-After": "Wed, 25 Nov 2026 12:00:30"}, 30.0),
        ({"Retry-After": "Wednesday, 25-Nov-26 12:00:30 GMT"}, 30.0),
        ({"Retry-After": "Wed, 25 Nov 2026 13:00:30 +0100"}, 30.0),
        ({"Retry-After": "Wed, 25 Nov 2026 11:59:00 GMT"}, 0.0),
        ({"Retry-After": "2026-11-25T12:01:00Z"}, 60.0),
        ({"Retry-After-Ms": "1500", "Retry-After": "9"}, 1.5),
        ({"retry-after-ms": "-1"}, 0.0),
        ({"retry-after-ms": "soon", "Retry-After": "9"}, 9.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "1_000"}, None),
        ({"Retry-After": "3 apples"}, None),
        ({"Retry-After": "Wed, 99 Nov 2026 12:00:30 GMT"}, None),
        ({}, None),
    ],
)
def test_every_spelling_of_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOW) == seconds


@given(st.text(max_size=40))
def test_no_text_breaks_it(text: str) -> None:
    found = retry_after_s({"Retry-After": text}, NOW)
    assert found is None or found >= 0


@given(st.integers(0, 10**6))
def test_a_date_is_read_as_it_was_written(seconds: int) -> None:
    text = format_datetime(NOW + timedelta(seconds=seconds), usegmt=True)
    assert retry_after_s({"Retry-After": text}, NOW) == seconds


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_back_off_doubles_up_to_a_minute_and_spreads(failures: int, chance: float) -> None:
    whole = min(60.0, 0.5 * 2.0 ** min(failures - 1, 30))
    assert whole / 2 <= back_off_s(failures, chance) <= whole


@given(st.floats(0, 600), st.integers(1, 9), st.floats(0, 1, exclude_max=True))
def test_never_sooner_than_asked(asked: float, failures: int, chance: float) -> None:
    assert asked <= wait_s(asked, failures, chance) <= asked * 1.1 + 0.1
    assert wait_s(None, failures, chance) == back_off_s(failures, chance)


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        *[(429, "rate_limit"), (500, "transient"), (503, "transient"), (529, "transient")],
        *[(408, "transient"), (409, "transient"), (400, "final"), (401, "final")],
        *[(404, "final"), (501, "final"), (302, "final")],
    ],
)
def test_statuses(status: int, verdict: str) -> None:
    assert verdict_of(status) == verdict
