"""Which one of some labels a text names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

from potstill.text.forms import folded, plain, short_answer
from potstill.text.rejected import rejected, set_phrases

# Scripts that put no space between words: a name may begin and end anywhere in them.
_UNSPACED = (
    r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af"
    r"\uf900-\ufaff"
)
_LETTER = rf"[^\W{_UNSPACED}]"
_EMPHASIS = re.compile(r"[*`]+|(?<![^\W_])_+(?=\w)|(?<=[^\W_])_+(?!\w)")
_QUOTES = str.maketrans(dict.fromkeys("‘’‛", "'") | dict.fromkeys("“”„«»", '"'))


class LabelReader:
    """Reads which of some labels a text names; labels differ in their plain forms."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._by_plain = {plain(label): label for label in labels}

    def whole(self, text: str) -> str | None:
        """Return the label that a text is, as a cell of right answers has to be one."""
        return self._by_plain.get(plain(text))

    def read(self, answer: str) -> str | None:
        """Return the label that an answer (without reasoning) gives; None for none or several.

        It is the whole answer, else the only label that is named and not rejected. Longer labels
        are looked for first, so that "not urgent" is not read as "urgent".
        """
        whole = self.whole(answer) or self._by_plain.get(short_answer(answer))
        if whole is not None:
            return whole
        text = _spoken(answer)
        void = set_phrases(text)
        names = [
            match
            for match in self._pattern.finditer(text)
            if not any(a <= match.start() and match.end() <= b for a, b in void)
        ]
        turned_down = rejected(text, [match.span() for match in names])
        named: dict[bool, set[str]] = {True: set(), False: set()}
        for match, is_rejected in zip(names, turned_down, strict=True):
            named[is_rejected].add(self._by_spoken[" ".join(match[0].split())])
        left = named[False] - named[True]
        return left.pop() if len(left) == 1 else None

    @cached_property
    def _by_spoken(self) -> dict[str, str]:
        return {" ".join(_spoken(form).split()): label for form, label in self._by_plain.items()}

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        names = sorted(self._by_spoken, key=len, reverse=True)
        return re.compile("|".join(map(_as_words, names)))


def _as_words(name: str) -> str:
    """Return the pattern of a name as words of its own."""
    inner = r"\s+".join(map(re.escape, name.split()))
    before = rf"(?<!{_LETTER})" if re.match(_LETTER, name) else ""
    after = rf"(?!{_LETTER}|[+#])" if re.match(_LETTER, name[-1]) else ""
    return f"{before}{inner}{after}"


def _spoken(text: str) -> str:
    """Return text in one spelling, line by line, with straight quotes and without emphasis."""
    lines = (folded(line) for line in text.translate(_QUOTES).splitlines())
    return _EMPHASIS.sub("", "\n".join(line for line in lines if line))
