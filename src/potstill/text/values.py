"""JSON values and numbers that a text gives."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from typing import Any

from potstill.canonical import parsed, refuse_constant

_NUMBER = re.compile(
    r"(?:(?<![\w.,)\]])[-+\N{MINUS SIGN}])?[$€£¥]?"
    r"(?:(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<!\d)\.\d+)(?:[eE][-+]?\d{1,4}(?!\w))?"
)
_FENCED = re.compile(r"\s*```[\w+-]*\s*\n(.*?)\n?\s*```\s*", re.DOTALL)


@dataclass(frozen=True)
class JsonFound:
    """A JSON value that a text gives; `around` says what stands around it, and is empty where
    nothing does."""

    value: Any
    around: str


def json_value(answer: str) -> JsonFound | None:
    """Return the JSON value that an answer (without reasoning) gives, None where there is none.

    All of the answer, or all that is inside its one code fence, is any JSON value; otherwise the
    first complete object in it is.
    """
    fenced = _FENCED.fullmatch(answer)
    places = [(answer, "")] + ([(fenced[1], "in a code fence")] if fenced is not None else [])
    for text, around in places:
        try:
            return JsonFound(parsed(text), around)
        except ValueError:
            continue
    found = first_object(answer)
    if found is None:
        return None
    return JsonFound(found, "in a code fence" if "```" in answer else "text around it")


def first_object(text: str) -> dict[str, Any] | None:
    """Return the first complete JSON object in a text, or None.

    An object that is cut off hides what is inside it: a truncated answer has none. NaN and
    infinities are no JSON.
    """
    decoder = json.JSONDecoder(parse_constant=refuse_constant)
    start = text.find("{")
    while start >= 0:
        try:
            value, _ = decoder.raw_decode(text, start)
        except json.JSONDecodeError as error:
            # What was read up to here belongs to the broken object.
            start = text.find("{", max(start + 1, error.pos))
        except (ValueError, RecursionError):
            return None
        else:
            return value if isinstance(value, dict) else None
    return None


def last_number(text: str) -> Decimal | None:
    """Return the last number in a text; thousands may be set apart by commas."""
    found = [match[0] for match in _NUMBER.finditer(text)]
    if not found:
        return None
    digits = re.sub(r"[$€£¥,+]", "", found[-1].replace("\N{MINUS SIGN}", "-"))
    try:
        return Decimal(digits)
    except DecimalException:
        return None
