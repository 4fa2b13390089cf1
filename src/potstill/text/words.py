"""The words and signs of a text: the one form in which prompts and answers are compared.

Case, spacing, Markdown and punctuation are put aside. Signs are not: 17 - 25 is another question
than 17 + 25, and C is another language than C++. Some characters are a sign in one place and
punctuation or Markdown in another (a minus, a hyphen, a bullet); where they stand decides.
"""

from __future__ import annotations

import re
import unicodedata

from potstill.recipe.plain import folded

# Scripts written without spaces: every character is a word.
UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\u0e00-\u0e7f"
# Marks that go with the letter before them: without its vowel signs a word of Hindi is another.
_JOINED = "".join(
    c for c in map(chr, range(0x300, 0xFB1F)) if unicodedata.category(c) in ("Mn", "Mc")
)
_LETTER = rf"[^\W_{UNSPACED}]"
_WORD = rf"[{UNSPACED}]|{_LETTER}+(?:[{_JOINED}]{_LETTER}*)*"
_WORDS = re.compile(_WORD)
_PIECES = re.compile(rf"{_WORD}|[^\w\s]")
# Without one of these every mark in a text is punctuation: most texts have none.
_MAY_BE_SIGN = re.compile(
    r"[^\w\s.,:;?!'\"“”‘’„…()\[\]—]|\d|![\w)\]]|['’]\(|\[\]|\(\)|[\"'“‘„][^\w\s][\"'”’“]"
)

_DASHES: dict[int, str | None] = dict.fromkeys(
    map(ord, "\N{MINUS SIGN}\N{FIGURE DASH}\N{EN DASH}"), "-"
)
_MARKS = _DASHES | {ord("`"): None}
_MARK_AS_CODE = re.compile(r"(?<!`)`([^\w\s`])`(?!`)")
# Lines of Markdown that say nothing: rules, underlines of headings, those under a table's head.
_RULE = re.compile(r"[-=*_~`:| ]{3,}")
# What begins a line and is no part of its text: quotes, bullets, headings.
_LEAD = re.compile(
    r"(?:>(?=[ >]|$) ?|[-*+•▪●◦‣■□](?= |$) ?|-(?=[^\W\d_]{2})|#{1,6}(?= |$|[^\W\d_]) ?)+"
)
# A bullet in front of a number, under a number, is an operator: sums are written so.
_SUM = re.compile(r"[-*+] [-$€£(.]*\d")
# Formulas between dollars, as Markdown has them: no space inside, no word outside.
_FORMULA = re.compile(r"(?<![\w$])(\${1,2})(?=[^\s$])([^$]{1,200})(?<=\S)\1(?![\w$])")

_ALWAYS = frozenset("+<>=%&@^/|‰‱")
_OPENING, _CLOSING = "([{", ")]}"
_BETWEEN_NUMBERS = frozenset(":·")
_CURRENCIES = "$€£¥"
_OPERATORS = "+-*/^=<>×÷⋅·√±"
_SYMBOLS = ("Sm", "Sc", "So")  # of Unicode's categories: mathematics, currencies, others
_LONGEST_RUN = 4  # no sign is longer
_QUOTES = "\"'“”‘’„"
_AROUND = f" *_~{_QUOTES}"  # what may stand between an operand and its sign
_FAR = 6


def words_of(text: str) -> tuple[str, ...]:
    """Return the words and signs of a text, in lower case; of one without any, what it is."""
    line = _in_one_line(text)
    if _MAY_BE_SIGN.search(line) is None:
        return tuple(_WORDS.findall(line)) or (line,)
    found: list[str] = []
    kept = -1  # where the last sign stands
    for match in _PIECES.finditer(line):
        piece, at = match[0], match.start()
        if not piece.isalnum() and _WORDS.match(piece) is None:
            bracket = piece in _OPENING and _left(line, at) == kept >= 0
            if not (bracket and line[kept] in _OPERATORS) and not _is_sign(line, at):
                continue
            kept = at
        found.append(piece)
    return tuple(found) or (line,)


def is_word(word: str) -> bool:
    """Tell whether one of `words_of` is a word, and no sign."""
    return any(map(str.isalnum, word))


def _in_one_line(text: str) -> str:
    """Return a text folded, without the Markdown that lines begin with, in one line."""
    lines: list[str] = []
    for raw in _MARK_AS_CODE.sub(r'"\1"', text).translate(_MARKS).splitlines():
        line = " ".join(raw.casefold().split()) if raw.isascii() else folded(raw)
        if not line or _RULE.fullmatch(line):
            continue
        below_number = bool(lines) and lines[-1][-1].isdigit()
        if not (below_number and _SUM.match(line)):
            lead = _LEAD.match(line)
            line = line[lead.end() :] if lead is not None else line
        if line.startswith("|"):
            line = line.replace("|", " ").strip()
        if line:
            lines.append(line)
    return _FORMULA.sub(r"\2", " ".join(lines)) or " ".join(text.split())


def _is_sign(line: str, at: int) -> bool:
    """Tell whether the mark at a place is part of what a text says."""
    mark = line[at]
    if _is_quoted(line, at):
        return True
    if mark == "-":
        return _is_minus(line, at)
    if mark == "*":
        return _is_times(line, at)
    before, after = _at(line, at - 1), _at(line, at + 1)
    if mark == ".":
        return after.isdigit() and before != "." and (before.isdigit() or not before.isalnum())
    if mark in _BETWEEN_NUMBERS:
        return all(_at(line, one).isdigit() for one in (_before(line, at), _behind(line, at)))
    if mark == "#":
        return before.isalnum() or (after.isalnum() and before != "#")
    if mark == "$":
        behind = _at(line, _behind(line, at))
        return _at(line, _before(line, at)).isdigit() or behind.isdigit() or behind in ".-"
    if mark == "~":
        return "~" not in (before, after)
    if mark == "!":
        return _is_exclaimed(line, at)
    if mark in "'’′":
        return _is_prime(line, at)
    if mark in _OPENING:  # a pair with nothing in it, and not that of a call
        return after == _CLOSING[_OPENING.index(mark)] and not before.isalnum()
    if mark in _CLOSING:
        operator = _right(line, at)
        return _at(line, operator) in _OPERATORS and _is_sign(line, operator)
    return mark in _ALWAYS or (not mark.isascii() and unicodedata.category(mark) in _SYMBOLS)


def _is_minus(line: str, at: int) -> bool:
    """Tell a minus, also of an option or a decrement, from a hyphen or a dash."""
    start, end = _run(line, at)
    before, after = _at(line, start - 1), _at(line, end)
    if end - start > 2:
        return False
    attached = after.isalnum() or after in (*_OPENING, *_CURRENCIES, ".", "\\")
    if attached and not before.isalnum() and before not in (*_CLOSING, *"%!'\"”’"):
        return True
    if end - start == 2 and before.isalpha() and not after.isalnum():
        return _alone(line, start - 1)  # i--
    left, right = _before(line, start), _behind(line, end - 1)
    return _ends_operand(line, left) and _begins_operand(line, right)


def _is_times(line: str, at: int) -> bool:
    """Tell a star that multiplies, or stands for all, from one that emphasises."""
    start, end = _run(line, at)
    before, after = _at(line, start - 1), _at(line, end)
    if end - start >= _LONGEST_RUN:
        return False
    if before == " " == after:
        return start > 0
    if before == "(" and after == ")":
        return True
    left = (before.isascii() and before.isalnum()) or before in _CLOSING
    right = (after.isascii() and after.isalnum()) or after in (*_OPENING, *_CURRENCIES, *".-\\")
    if left and right:
        return True
    near = _at(line, _left(line, start)), _at(line, _right(line, end - 1))
    return all(one.isdigit() for one in near)


def _is_quoted(line: str, at: int) -> bool:
    """Tell whether a mark stands alone in quotes, and so is what is spoken of."""
    if line[at] in _QUOTES or not (_at(line, at - 1) in _QUOTES and _at(line, at + 1) in _QUOTES):
        return False
    return not any(
        one.isalnum() or one in _QUOTES for one in (_at(line, at - 2), _at(line, at + 2))
    )


def _is_prime(line: str, at: int) -> bool:
    """Tell the prime of a function's derivative from a quote or an apostrophe."""
    start = at
    while start > at - _LONGEST_RUN and _at(line, start - 1) == line[at]:
        start -= 1
    name, before = _at(line, start - 1), _at(line, start - 2)
    alone = name.isalpha() and not before.isalpha() and before not in _QUOTES
    return alone and _at(line, _run(line, at)[1]) == "("


def _is_exclaimed(line: str, at: int) -> bool:
    """Tell a factorial or a negation from the end of a sentence."""
    before, after = _at(line, at - 1), _at(line, at + 1)
    if after == "=":
        return True
    if before.isdigit() or before in _CLOSING or _alone(line, at - 1):
        return _at(line, _right(line, at)) in (*_OPERATORS, *_CLOSING, "?", "%")
    return after.isalnum() and not before.isalnum() and before not in "!?"


def _ends_operand(line: str, at: int) -> bool:
    mark = _at(line, at)
    return mark.isdigit() or mark in (*_CLOSING, "%", "°", "!") or _alone(line, at)


def _begins_operand(line: str, at: int) -> bool:
    mark = _at(line, at)
    return mark.isdigit() or mark in (*_OPENING, *_CURRENCIES, *".-√\\") or _alone(line, at)


def _alone(line: str, at: int) -> bool:
    """Tell whether a single letter stands at a place, as the name of a quantity."""
    beside = _at(line, at - 1), _at(line, at + 1)
    return _at(line, at).isalpha() and not any(one.isalpha() or one == "'" for one in beside)


def _run(line: str, at: int) -> tuple[int, int]:
    """Return where the run of one mark starts and ends, of a long one only a part of it."""
    start, end = at, at + 1
    while start > at - _LONGEST_RUN and _at(line, start - 1) == line[at]:
        start -= 1
    while end < at + _LONGEST_RUN and _at(line, end) == line[at]:
        end += 1
    return start, end


def _at(line: str, at: int) -> str:
    return line[at] if 0 <= at < len(line) else " "


def _before(line: str, at: int) -> int:
    """Return the place before one, passing over a space, quotes and emphasis."""
    one = at - 1
    while one > at - _FAR and _at(line, one) in _AROUND:
        one -= 1
    return one


def _behind(line: str, at: int) -> int:
    one = at + 1
    while one < at + _FAR and _at(line, one) in _AROUND:
        one += 1
    return one


def _left(line: str, at: int) -> int:
    """Return the place before one, passing over a space."""
    return at - 2 if _at(line, at - 1) == " " else at - 1


def _right(line: str, at: int) -> int:
    return at + 2 if _at(line, at + 1) == " " else at + 1
