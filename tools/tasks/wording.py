"""Chance, spelling variants and typing errors, the same on every machine and Python version."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from blake3 import blake3

T = TypeVar("T")

# Every list of words has three parts, in this order. Training rows have `known` words only, rows
# that nobody has labelled `known` and `unlabelled` ones, held-out rows all; `new` ones are in no
# other rows.
WORDINGS = ("known", "new", "unlabelled")
Parts = tuple[list[str], list[str], list[str]]

_VARIANTS = re.compile(r"\[([^\[\]]*)\]")
_SLOT = re.compile(r"\{(\w+)\}")


class Dice:
    """A stream of random numbers that a seed in words decides."""

    def __init__(self, seed: str) -> None:
        self._seed = seed
        self._count = 0

    def below(self, limit: int) -> int:
        """Return a whole number from 0 to `limit` - 1."""
        self._count += 1
        digest = blake3(f"{self._seed}:{self._count}".encode()).digest(length=8)
        return int.from_bytes(digest, "big") % limit

    def choice(self, options: Sequence[T]) -> T:
        """Return one of the options."""
        return options[self.below(len(options))]

    def chance(self, percent: int) -> bool:
        """Return True in so many of a hundred cases."""
        return self.below(100) < percent


def worded(template: str, slots: Mapping[str, str], dice: Dice) -> str:
    """Return the template with one of each `[a|b]` chosen and each `{slot}` filled."""
    text = _VARIANTS.sub(lambda m: dice.choice(m[1].split("|")), template)
    return " ".join(_SLOT.sub(lambda m: slots[m[1]], text).split())


def with_typos(text: str, keep: Sequence[str], dice: Dice) -> str:
    """Return the text with one or two words mistyped, never one that `keep` holds."""
    words = text.split(" ")
    kept = {word for phrase in keep for word in phrase.lower().split()}
    long = [i for i, w in enumerate(words) if len(w) > 4 and w.isalpha() and w.lower() not in kept]
    for _ in range(1 + dice.below(2)):
        if long:
            at = dice.choice(long)
            words[at] = _mistyped(words[at], dice)
    return " ".join(words)


def hurried(text: str, dice: Dice) -> str:
    """Return the text as people type on a telephone: lower case, or without its last mark."""
    if dice.chance(60):
        return text.rstrip(".?!")
    return text[0].lower() + text[1:]


def _mistyped(word: str, dice: Dice) -> str:
    at = 1 + dice.below(len(word) - 2)
    kind = dice.below(3)
    if kind == 0:
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    if kind == 1:
        return word[:at] + word[at + 1 :]
    return word[:at] + word[at] + word[at:]
