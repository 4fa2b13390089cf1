"""Texts that know no key, to try a detection on: drawn ones, and pieces of an owner's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from potstill.errors import PotstillError
from potstill.watermark.token_texts import TokenTexts


class NullText(Protocol):
    """A kind of text without a mark."""

    @property
    def name(self) -> str:
        """What a table calls it."""
        ...

    def draw(self, rng: np.random.Generator) -> TokenTexts:
        """Return texts of this kind."""
        ...


@dataclass(frozen=True)
class EvenText:
    """Every token of the vocabulary equally often."""

    vocabulary: int
    texts: int = 4
    tokens: int = 100
    name: str = "even"

    def draw(self, rng: np.random.Generator) -> TokenTexts:
        return _cut(rng.integers(0, self.vocabulary, self.texts * self.tokens), self.tokens)


@dataclass(frozen=True)
class ZipfText:
    """Few tokens often and most seldom, as in language: the r-th at a rate of 1 / r."""

    vocabulary: int
    texts: int = 4
    tokens: int = 100
    name: str = "zipf"

    def draw(self, rng: np.random.Generator) -> TokenTexts:
        # The inverse of ln(1 + r) / ln(1 + V), which is a rate of about 1 / r.
        rank = np.exp(rng.random(self.texts * self.tokens) * np.log(self.vocabulary + 1)) - 1
        return _cut(rank.astype(np.int64), self.tokens)


@dataclass(frozen=True)
class LoopingText:
    """Texts that fall into loops: a few n-grams, said again and again between other words."""

    vocabulary: int
    texts: int = 4
    tokens: int = 100
    name: str = "loops"

    def draw(self, rng: np.random.Generator) -> TokenTexts:
        grams = [rng.integers(0, self.vocabulary, n) for n in (3, 5, 8, 20)]
        every = []
        for _ in range(self.texts):
            order = rng.integers(0, len(grams), self.tokens // 6)
            words = rng.integers(0, self.vocabulary, len(order))
            pieces = [
                part for g, word in zip(order, words, strict=True) for part in (grams[g], [word])
            ]
            every.append(np.concatenate(pieces)[: self.tokens])
        return TokenTexts.of(every)


@dataclass(frozen=True)
class BoilerplateText:
    """Many documents that begin with the same words, drawn anew for each set of documents."""

    vocabulary: int
    texts: int = 20
    tokens: int = 80
    shared: int = 40
    name: str = "boilerplate"

    def draw(self, rng: np.random.Generator) -> TokenTexts:
        rows = rng.integers(0, self.vocabulary, (self.texts, self.tokens))
        rows[:, : self.shared] = rows[0, : self.shared]
        return _cut(rows.ravel(), self.tokens)


@dataclass(frozen=True)
class OwnText:
    """Pieces of an owner's own texts, drawn with replacement.

    Raises `PotstillError` where they hold fewer tokens than one piece.
    """

    source: TokenTexts
    texts: int = 4
    tokens: int = 100
    name: str = "own"

    def __post_init__(self) -> None:
        if self.source.tokens < self.tokens:
            raise PotstillError(
                f"the texts to calibrate on have {self.source.tokens:,} tokens, and one piece has "
                f"{self.tokens:,}; give more text"
            )

    def draw(self, rng: np.random.Generator) -> TokenTexts:
        starts = rng.integers(0, self.source.tokens - self.tokens + 1, self.texts)
        pieces = [self.source.ids_T[start : start + self.tokens] for start in starts]
        return _cut(np.concatenate(pieces), self.tokens)


def kinds_of(vocabulary: int) -> tuple[NullText, ...]:
    """Return the drawn kinds of text for a vocabulary."""
    return (
        EvenText(vocabulary),
        ZipfText(vocabulary),
        LoopingText(vocabulary),
        BoilerplateText(vocabulary),
    )


def _cut(ids: np.ndarray, tokens: int) -> TokenTexts:
    """Return texts of equally many tokens."""
    starts = np.arange(0, len(ids) + 1, tokens, dtype=np.int64)
    return TokenTexts(ids.astype(np.uint32), starts)
