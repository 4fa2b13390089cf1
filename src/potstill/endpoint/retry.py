"""Whether a request is worth another try, and when. Pure functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

Verdict = Literal["rate_limit", "transient", "final"]

_FIRST_WAIT_S = 0.5
_LONGEST_BACK_OFF_S = 60.0
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
# Request timeout, conflict, too early: the same request may well succeed later.
_TRANSIENT = {408, 409, 425}
# Not implemented, HTTP version: it never will.
_NEVER = {501, 505}


def verdict_of(status: int) -> Verdict:
    """Return what an HTTP status that is no success means for the same request."""
    if status == 429:
        return "rate_limit"
    if status in _TRANSIENT or (500 <= status < 600 and status not in _NEVER):
        return "transient"
    return "final"


def retry_after_s(headers: Mapping[str, str], now: datetime) -> float | None:
    """Return how many seconds the server asks to wait, or None where it does not say.

    Read are `retry-after-ms` (milliseconds) and `Retry-After`: seconds, whole or not, a duration
    such as `1m30s`, an HTTP date or an ISO 8601 time. What lies in the past, or is negative, is
    0; what is none of these is None. `now` carries its time zone.
    """
    lower = {name.lower(): value.strip() for name, value in headers.items()}
    milliseconds = lower.get("retry-after-ms", "")
    if _NUMBER.fullmatch(milliseconds):
        return max(0.0, float(milliseconds) / 1000)
    value = lower.get("retry-after", "")
    if _NUMBER.fullmatch(value):
        return max(0.0, float(value))
    if re.fullmatch(rf"({_DURATION.pattern})+", value):
        return sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(value))
    when = _time(value)
    return None if when is None else max(0.0, (when - now).total_seconds())


def back_off_s(failures: int, chance: float) -> float:
    """Return the wait before the next try, in seconds, after so many failures in a row.

    It doubles with each failure up to a minute; `chance` in [0, 1) spreads it between half of
    that and all of it, so that requests that failed together do not come back together.
    """
    whole = min(_LONGEST_BACK_OFF_S, _FIRST_WAIT_S * 2.0 ** min(failures - 1, 30))
    return whole * (0.5 + 0.5 * chance)


def wait_s(asked: float | None, failures: int, chance: float) -> float:
    """Return the wait in seconds: never sooner than the server asked, up to a tenth later."""
    if asked is None:
        return back_off_s(failures, chance)
    return asked * (1 + 0.1 * chance) + 0.1 * chance


def _time(text: str) -> datetime | None:
    """Return an HTTP date or an ISO 8601 time; without a zone it is UTC, as HTTP says."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            found = parse(text)
        except (TypeError, ValueError, IndexError, OverflowError):
            continue
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found
    return None
