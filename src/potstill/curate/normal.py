"""When two texts say the same, but for case and spacing."""

from __future__ import annotations

import unicodedata


def same_spacing(text: str) -> str:
    """Return text in one spelling: composed characters, lower case, single spaces.

    Punctuation and compatibility characters stay, so that `x + 1`, `x - 1` and `x²` differ.
    """
    return " ".join(unicodedata.normalize("NFC", text).casefold().split())


def bare_answer(text: str) -> str:
    """Return a short answer as `same_spacing` does, without outer quotes and full stop."""
    bare = same_spacing(text)
    stopped = bare.removesuffix(".").strip()
    for opening, closing in ('""', "''", "“”", "‘’", "``"):
        if len(stopped) > 1 and stopped.startswith(opening) and stopped.endswith(closing):
            return stopped[1:-1].strip().removesuffix(".").strip()
    return stopped or bare
