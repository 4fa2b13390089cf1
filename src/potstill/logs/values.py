"""Values of a log, each checked: text, numbers, moments, names.

Everything here returns None for what it cannot use; nothing raises.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from potstill.canonical import canonical_json, parsed
from potstill.text.forms import is_text

_NAME = re.compile(r"[^A-Za-z0-9._:/@+-]+")
_LONGEST_NAME = 100
_LARGEST = 2**53
_SECONDS = 1e11  # the year 5138; larger numbers are milliseconds
_USAGE = ("prompt_tokens", "completion_tokens", "total_tokens")
# Anthropic counts what its cache holds apart from the rest of the input.
_INPUTS = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
_SAMPLING = {"temperature": float, "top_p": float, "top_k": int, "max_tokens": int, "seed": int}


def number(value: Any) -> float | int | None:
    """Return a finite number, also from text (a CSV's), or None."""
    if isinstance(value, str):
        try:
            value = float(value) if re.search("[.eE]", value) else int(value[:20])
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and abs(value) < _LARGEST else None


def count(value: Any) -> int | None:
    """Return a whole number of at least 0, or None."""
    found = number(value)
    return int(found) if found is not None and found >= 0 and found == int(found) else None


def name(value: Any) -> str | None:
    """Return a model's or provider's name in plain characters, or None where there is none."""
    if not isinstance(value, str):
        return None
    return _NAME.sub("-", value.strip())[:_LONGEST_NAME].strip("-") or None


def moment(value: Any) -> datetime | None:
    """Return a time in UTC, or None: from ISO 8601 text, (milli)seconds since 1970, a datetime."""
    if isinstance(value, str) and (seconds := number(value)) is not None:
        value = seconds
    try:
        if isinstance(value, str):
            value = datetime.fromisoformat(value.strip())
        elif isinstance(value, int | float) and not isinstance(value, bool):
            value = datetime.fromtimestamp(value / 1000 if value > _SECONDS else value, UTC)
        if not isinstance(value, datetime):
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None


def stamp(value: Any) -> str | None:
    """Return a time as ISO 8601 in UTC, in milliseconds, or None."""
    found = moment(value)
    return None if found is None else found.isoformat(timespec="milliseconds")


def seconds_between(start: Any, end: Any) -> float | None:
    """Return the seconds from one time to another, or None where either is not known."""
    first, last = moment(start), moment(end)
    if first is None or last is None or last < first:
        return None
    return round((last - first).total_seconds(), 4)


def json_text(value: Any) -> str | None:
    """Return a value as canonical JSON text; None where it is empty, or cannot be JSON."""
    if not value:
        return None
    try:
        text = canonical_json(value).decode()
    except (ValueError, TypeError, RecursionError):
        return None
    return text if is_text(text) and "\\u0000" not in text else None


def structured(value: Any) -> Any:
    """Return the JSON value that text holds, and anything else (plain text too) as it is."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return parsed(value)
        except ValueError:
            return value
    return value


def as_dict(value: Any) -> dict[str, Any]:
    """Return a mapping, also from JSON text; empty for anything else."""
    found = structured(value)
    return found if isinstance(found, dict) else {}


def sampling_of(request: Mapping[str, Any]) -> dict[str, float | int | None]:
    """Return how an answer was to be drawn; None where the request does not say."""
    stated = dict(request)
    names = ("max_tokens", "max_completion_tokens", "max_output_tokens")
    stated["max_tokens"] = next((stated[n] for n in names if stated.get(n) is not None), None)
    found: dict[str, float | int | None] = {}
    for key, kind in _SAMPLING.items():
        value = number(stated.get(key))
        found[key] = None if value is None else kind(value)
    return found


def usage_of(values: Mapping[str, Any]) -> dict[str, int]:
    """Return the token counts that a log states, reasoning tokens among them.

    Where input and output are counted, what was written to or read from a cache is part of what
    was asked.
    """
    found = {key: count(values.get(key)) for key in _USAGE}
    asked = [count(values.get(key)) for key in _INPUTS]
    if found["prompt_tokens"] is None and asked[0] is not None:
        found["prompt_tokens"] = sum(n for n in asked if n is not None)
    if found["completion_tokens"] is None:
        found["completion_tokens"] = count(values.get("output_tokens"))
    for key in ("completion_tokens_details", "output_tokens_details"):
        details = as_dict(values.get(key))
        if details:
            found["reasoning_tokens"] = count(details.get("reasoning_tokens"))
    return {key: value for key, value in found.items() if value is not None}
