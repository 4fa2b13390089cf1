"""What a logged call says of its end, and whether it may be learnt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from potstill.logs.call import Reason
from potstill.logs.values import number
from potstill.text.finish import Ending, ending_of

# OpenAI's, Anthropic's, Ollama's, llama.cpp's, and the spellings of Gemini and Bedrock.
END_FIELDS = (
    *("finish_reason", "stop_reason", "done_reason", "stop_type", "finishReason", "stopReason"),
)
# What a table or a proxy may write where there is no error.
_NO_ERROR = ("", "null", "none", "nan", "{}", "[]", "false")
_FLAWS = {
    Ending.REFUSED: Reason.FILTERED,
    Ending.FAILED: Reason.ERROR,
    Ending.UNKNOWN: Reason.END_UNKNOWN,
}


class NoPlace:
    """What stands for an end where a form has no place to state one."""


NO_PLACE = NoPlace()


def stated_in(*found: Mapping[str, Any]) -> Any:
    """Return what the first of some objects with a place for it states of the end.

    One may have several places, as a table of several forms. None where all are blank, `NO_PLACE`
    where none of them has one.
    """
    for values in found:
        stated = [values[field] for field in END_FIELDS if field in values]
        if stated:
            return next((one for one in stated if one not in (None, "")), None)
    return NO_PLACE


def flaw_of(stated: Any) -> Reason | None:
    """Return why an answer that ended so is not known to be whole, or cut at its length."""
    if isinstance(stated, NoPlace):
        return None
    ending = ending_of(stated)
    return Reason.END_BLANK if ending is Ending.UNSTATED else _FLAWS.get(ending)


def word_of(stated: Any) -> str | None:
    """Return an end as it was logged, None where nothing was."""
    if isinstance(stated, Mapping):
        stated = stated.get("type") or stated.get("reason")
    return stated if isinstance(stated, str) and stated else None


def row_failed(row: Mapping[str, Any]) -> bool:
    """Tell whether a row, or the wrapping of a response, says that its call went wrong."""
    codes = [number(row.get(key)) for key in ("status_code", "status")]
    error = row.get("error")
    if isinstance(error, str) and error.strip().lower() in _NO_ERROR:
        error = None
    if error or any(code is not None and code >= 400 for code in codes):
        return True
    return ending_of(row.get("status")) is Ending.FAILED
