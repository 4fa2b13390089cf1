"""The words: every phrase once, and for each grammar and language what stands at each place.

A text is a row of phrase numbers. What stands at a place follows from the template, or from the
item that is asked about.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from potstill.simulator.covers import GRAMMARS
from potstill.simulator.spec import INTENTS, LANGUAGES

FOLDER = Path(__file__).with_name("words")
TEMPLATE, ITEM = 0, 1
# O opener, A ask, J adjective, N noun, K link, S subject, R predicate, V adverbial, M a name,
# I intent, F format (always last: no space after it), T tag, D number, P path, H head of a
# function, B line of one.
_SENTENCE = "SMRV"
PATTERNS = {
    "chat": "OAJN" + _SENTENCE + "K" + _SENTENCE + "IF",
    "support": "OAJNTD" + _SENTENCE + "IF",
    "rag": "OAJNT" + _SENTENCE + "K" + _SENTENCE + "IF",
    "code": "OAJNPHBBBIF",
    "agent": "OAJNTPHBBDIF",
    "eval": "OAJNTD" + _SENTENCE + "DIF",
    "synth": "OAJNT" + _SENTENCE + "DIF",
    "judge": "OAJNT" + _SENTENCE + "K" + _SENTENCE + "IF",
    "ci": "OAJNTPHBBBIF",
    "translate": "OAJNT" + _SENTENCE + "K" + _SENTENCE + "IF",
    "class": "OAJNT" + _SENTENCE + "DIF",
    "launch": "OAJN" + _SENTENCE + "IF",
    "hack": "OAJNTPHBIF",
}
LONGEST = max(map(len, PATTERNS.values()))
ANSWER = "CK" + _SENTENCE + "K" + _SENTENCE
EARLIER = _SENTENCE + "C" + _SENTENCE
_BY_TEMPLATE = frozenset("OAITF")
_CLASSES = {
    "O": "openers", "J": "adjectives", "N": "nouns", "K": "links", "S": "subjects",
    "R": "predicates", "V": "adverbials", "F": "formats", "C": "acks",
}  # fmt: skip


@dataclass(frozen=True)
class Book:
    """All phrases and where those of each place lie. Phrase 0 is empty."""

    plain: pa.Array
    escaped: pa.Array
    """The same phrases as they stand inside a JSON string."""
    first_GLIK: NDArray[np.int64]
    """Number of the first phrase by grammar, language, intent and place."""
    width_GLIK: NDArray[np.int64]
    mode_GK: NDArray[np.int8]
    answer_LK: tuple[NDArray[np.int64], NDArray[np.int64]]
    earlier_LK: tuple[NDArray[np.int64], NDArray[np.int64]]
    system_G: tuple[NDArray[np.int64], NDArray[np.int64]]
    noun_L: NDArray[np.int64]
    """Place of the noun in a prompt, by language."""
    tag: tuple[int, int]


def _read(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return read


@cache
def book() -> Book:
    """Read words/ and return the book; the same one each time."""
    phrases, where = [""], {}

    def put(name: tuple[str, ...], texts: list[str], end: str) -> None:
        where[name] = (len(phrases), len(texts))
        phrases.extend(text + end for text in texts)

    _put_shared(put)
    for language in LANGUAGES:
        read = _read(language)
        space = read["space"]
        for sign, name in _CLASSES.items():
            put((sign, language), read[name], "" if sign == "F" else space)
        for intent in INTENTS:
            put(("I", language, intent), read[intent], space)
        for grammar in GRAMMARS:
            put(("A", language, grammar), read["asks"][grammar], space)
            if "system" in read:
                put(("system", grammar), read["system"][grammar], "")
    shape = (len(GRAMMARS), len(LANGUAGES), len(INTENTS), LONGEST)
    first, width = np.zeros(shape, dtype=np.int64), np.ones(shape, dtype=np.int64)
    mode = np.zeros((len(GRAMMARS), LONGEST), dtype=np.int8)
    for g, grammar in enumerate(GRAMMARS):
        for l, language in enumerate(LANGUAGES):  # noqa: E741 (l is the language's axis)
            pattern = _ordered(PATTERNS[grammar], _read(language)["noun_first"])
            for k, sign in enumerate(pattern):
                mode[g, k] = TEMPLATE if sign in _BY_TEMPLATE else ITEM
                for i, intent in enumerate(INTENTS):
                    first[g, l, i, k], width[g, l, i, k] = _found(
                        where, sign, language, grammar, intent
                    )
    systems = np.array([where["system", g] for g in GRAMMARS])
    return Book(
        plain=pa.array(phrases, pa.string()),
        escaped=pa.array([json.dumps(p, ensure_ascii=False)[1:-1] for p in phrases], pa.string()),
        first_GLIK=first,
        width_GLIK=width,
        mode_GK=mode,
        answer_LK=_places(where, ANSWER),
        earlier_LK=_places(where, EARLIER),
        system_G=(systems[:, 0], systems[:, 1]),
        noun_L=np.array([2 if _read(name)["noun_first"] else 3 for name in LANGUAGES]),
        tag=where[("system tag",)],
    )


def _put_shared(put: Any) -> None:
    """Put what is the same in every language."""
    read = _read("any")
    tags = [f"[{bird}-{stone}]" for bird in read["birds"] for stone in read["stones"]]
    put(("T",), tags, " ")
    put(("system tag",), [f" {tag}" for tag in tags], "")
    people = [f"{first} {last}" for first in read["first_names"] for last in read["last_names"]]
    put(("M",), people, " ")
    put(("D",), [str(n) for n in range(1, 1_000)], " ")
    files = [f"{verb}_{thing}" for verb in read["verbs"] for thing in read["things"]]
    put(("P",), [f"src/{name}.py" for name in files], "\n")
    put(("H",), [f"def {name}(rows, path):" for name in files], "\n")
    put(("B",), read["lines"], "")


def _ordered(pattern: str, noun_first: bool) -> str:
    return pattern.replace("JN", "NJ") if noun_first else pattern


def _found(
    where: dict[tuple[str, ...], tuple[int, int]], sign: str, language: str, grammar: str,
    intent: str,
) -> tuple[int, int]:  # fmt: skip
    if sign == "I":
        return where["I", language, intent]
    if sign == "A":
        return where["A", language, grammar]
    return where.get((sign,)) or where[sign, language]


def _places(
    where: dict[tuple[str, ...], tuple[int, int]], pattern: str
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return first phrase and number of phrases by language and place of a fixed pattern."""
    found = np.array(
        [
            [where.get((sign,)) or where[sign, language] for sign in pattern]
            for language in LANGUAGES
        ]
    )
    return found[:, :, 0], found[:, :, 1]
