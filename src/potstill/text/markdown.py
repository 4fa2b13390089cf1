"""Text that others wrote, within Markdown: no name and no licence is more than text there."""

from __future__ import annotations

import re
import unicodedata

# What Markdown or HTML in it would take for more than a letter.
_MARKS = re.compile(r"([\\`*_\[\]<>#|~&])")
# What at a line's beginning would make a list of it.
_LISTS = re.compile(r"^(\d*)([-+.)])(?=\s|$)")


def plain(text: str) -> str:
    """Return text on one line, with what Markdown or HTML would read as markup escaped.

    Letters that no page may hold are replaced.
    """
    kept = "".join(
        one if unicodedata.category(one) not in ("Cc", "Cs") or one.isspace() else "\ufffd"
        for one in text
    )
    return _LISTS.sub(r"\1\\\2", _MARKS.sub(r"\\\1", " ".join(kept.split())))
