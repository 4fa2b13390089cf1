"""Text that begins like a list of messages: a list with a flaw, or text that speaks of one?"""

from __future__ import annotations

import ast
import json
import re
import warnings
from typing import Any

# How text begins that was a list of messages once.
_BEGINS = re.compile(r"""\s*\[\s*\{\s*(["'])(?:role|from|content|value)\1\s*:""")
_OPENING, _CLOSING = "[{", "]}"


def is_damaged_list(text: str) -> bool:
    """Tell whether text that is no JSON would be a list of messages but for a flaw.

    Where its first list ends and words go on behind it, it is text that shows one. A list that is
    cut off, or has a flaw inside and ends as lists do, is damaged.
    """
    begins = _BEGINS.match(text)
    if begins is None:
        return False
    end = _end_of_list(text, "\"'" if begins[1] == "'" else '"')
    rest = "" if end is None else text[end:]
    if _BEGINS.match(rest):
        return True  # one list after another
    if not any(map(str.isalnum, rest)):
        return end is not None or not _is_left(text)
    return not _is_read(text[:end]) and text.rstrip()[-1:] in _CLOSING


def python_value(text: str) -> Any:
    """Return what a list of messages is in Python's spelling, None for other text."""
    if _BEGINS.match(text) is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they would quote the text
            return ast.literal_eval(text.strip())  # as a table of Python objects is saved to CSV
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def _end_of_list(text: str, quotes: str) -> int | None:
    """Return where the list that a text begins with ends, None where it does not."""
    depth, quote, at = 0, "", 0
    while at < len(text):
        mark = text[at]
        if quote:
            if mark == "\\":
                at += 1
            elif mark == quote:
                quote = ""
        elif mark in quotes:
            quote = mark
        elif mark in _OPENING:
            depth += 1
        elif mark in _CLOSING:
            depth -= 1
            if depth == 0:
                return at + 1
        at += 1
    return None


def _is_left(text: str) -> bool:
    """Tell whether words follow the last message of a list that is never closed."""
    _, closed, rest = text.rpartition("}")
    words = rest.lstrip(" \t\r\n")
    return bool(closed) and '"' not in rest and bool(words) and words[0].isalnum()


def _is_read(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return python_value(text) is not None
    return True
