"""The one form in which short answers and labels are compared.

It stands with the recipe, whose labels have to differ in it; `potstill.text` reads answers by it.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

# Spellings of one character: full and half width, ligatures, fonts. What only looks alike when it
# is flattened (x² and x2, ½ and 1/2) stays apart.
_APART = ("<super>", "<sub>", "<fraction>", "<circle>", "<square>")
_HYPHENS = dict.fromkeys(map(ord, "\N{HYPHEN}\N{NON-BREAKING HYPHEN}"), "-")
_WRAPS = [
    *(("**", "**"), ("__", "__"), ("~~", "~~"), ("*", "*"), ("_", "_"), ("`", "`")),
    *(('"', '"'), ("'", "'"), ("“", "”"), ("„", "“"), ("‘", "’"), ("«", "»"), ("»", "«")),
    *(("「", "」"), ("『", "』"), ("《", "》")),
]
_BEFORE = re.compile(r"(?:#{1,6}|[->*+•](?!\s*\d))\s+")
_AFTER = ".,;:!?…。．，、；：！？"
_FENCE = re.compile(r"```[\w+-]*\s+(?!.*```.*```)(.*?)\s*```", re.DOTALL)
_TAG = re.compile(r"<(answer|label|output|result)>(.*)</\1>", re.DOTALL)
_BOLD = re.compile(r"(\*\*|__)(?=\S)((?:(?!\1).)+)(?<=\S)\1")


def plain(text: str) -> str:
    """Return a short text without what does not tell one answer from another.

    Case, width and the encoding of accents, runs of white space, Markdown (emphasis, headings,
    bullets, fences), quotes around it and punctuation after it are put aside; a sign before a
    number stays. Of a text that is nothing else it returns what is left last.
    """
    words = folded(text)
    while True:
        inner = _peeled(words)
        if not inner or inner == words:
            return words
        words = inner


def folded(text: str) -> str:
    """Return text in one case, width and encoding, with single spaces."""
    flat = "".join(map(_flat, unicodedata.normalize("NFC", text)))
    # Once more, since casefolding may take a character apart.
    one = unicodedata.normalize("NFC", flat.translate(_HYPHENS).casefold())
    return " ".join(one.split())


def labels_problem(labels: Sequence[str]) -> str | None:
    """Return what keeps labels from being told apart, in words; None if nothing."""
    forms = [plain(label) for label in labels]
    counts = Counter(forms)
    if not all(any(map(str.isalnum, form)) for form in forms):
        return "holds a label without a letter or digit; remove it"
    repeated = [label for label, form in zip(labels, forms, strict=True) if counts[form] > 1]
    if repeated:
        return (
            f"holds {' and '.join(repeated)}, which are one label, since case, spacing, Markdown, "
            "quotes and punctuation at the end do not count; rename one"
        )
    return None


@lru_cache(maxsize=8192)
def _flat(character: str) -> str:
    if unicodedata.decomposition(character).startswith(_APART):
        return character
    return unicodedata.normalize("NFKC", character)


def _peeled(words: str) -> str:
    """Return text without one layer of what surrounds it."""
    for pattern in (_FENCE, _TAG):
        whole = pattern.fullmatch(words)
        if whole is not None:
            return whole[whole.lastindex or 1].strip()
    words = _BOLD.sub(r"\2", words)
    before = _BEFORE.match(words)
    if before is not None:
        return words[before.end() :]
    for opening, closing in _WRAPS:
        inner = words[len(opening) : len(words) - len(closing)]
        wrapped = words.startswith(opening) and words.endswith(closing) and inner.strip()
        if wrapped and opening not in inner and closing not in inner:
            return inner.strip()
    return words.rstrip(_AFTER).rstrip()
