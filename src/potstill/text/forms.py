"""When two texts say the same.

`folded` puts case, width and spacing aside. `plain` and `short_answer` go on from there, for
short answers, where punctuation does not count either. `same_spacing` is for whole texts
(duplicates), where even width counts. Word by word, texts are compared by `potstill.text.words`.
"""

from __future__ import annotations

import re
import unicodedata

from potstill.recipe.plain import folded, plain

__all__ = ["folded", "is_text", "plain", "same_spacing", "says_something", "short_answer"]

_WHAT = (
    "answer|label|category|class|classification|queue|topic|intent|type|output|result|prediction|"
    "response|verdict|solution|antwort|réponse|respuesta|resposta|risposta|antwoord|ответ|答案|回答|答え"
)
_MARKS = r"[*_`\"'#\s]*"
_LEAD_IN = re.compile(
    rf"{_MARKS}(?:(?:the|my|your|final|correct|right|best)\s+)*(?:{_WHAT}){_MARKS}"
    rf"(?::|=|->|→|\bis\b:?|は|是){_MARKS}"
)


def same_spacing(text: str) -> str:
    """Return text in one spelling: composed characters, lower case, single spaces.

    Punctuation and compatibility characters stay, so that `x + 1`, `x - 1` and `x²` differ.
    """
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def is_text(value: str) -> bool:
    """Tell whether a string is text: no NUL, no half of a surrogate pair."""
    if "\0" in value:
        return False
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def says_something(text: str) -> bool:
    """Tell whether a text is more than white space and what Unicode calls invisible."""
    # Zero-width spaces and joiners, a byte-order mark.
    return any(not c.isspace() and c not in "\u200b\u200c\u200d\u2060\ufeff\0" for c in text)


def short_answer(text: str) -> str:
    """Return a short answer in its plain form, without words that only lead to it.

    "**Answer:** Paris." and "The answer is Paris" are "paris"; a text that is nothing but such
    words stays.
    """
    words = plain(text)
    lead = _LEAD_IN.match(words)
    return (plain(words[lead.end() :]) or words) if lead is not None else words
