"""Texts as token ids, one after the other in plan order, and the rows that a scheme looks at."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from blake3 import blake3
from numpy.typing import ArrayLike, NDArray

from potstill.errors import PotstillError

# The first number that is no token id.
_NO_ID = 2**32


@dataclass(frozen=True)
class TokenTexts:
    """D texts as T token ids; text d is `ids_T[starts_S[d]:starts_S[d + 1]]`, with S = D + 1."""

    ids_T: NDArray[np.uint32]
    starts_S: NDArray[np.int64]

    @staticmethod
    def of(texts: Iterable[ArrayLike]) -> TokenTexts:
        """Return texts that are given as sequences of ids.

        Raises `PotstillError` for an id that is no whole number in [0, 2^32).
        """
        parts = [_ids(text) for text in texts]
        starts_S = np.zeros(len(parts) + 1, np.int64)
        np.cumsum([len(part) for part in parts], out=starts_S[1:])
        ids_T = np.concatenate(parts) if parts else np.empty(0, np.uint32)
        return TokenTexts(ids_T, starts_S)

    @property
    def texts(self) -> int:
        """How many texts there are."""
        return len(self.starts_S) - 1

    @property
    def tokens(self) -> int:
        """How many tokens they have together."""
        return len(self.ids_T)

    @cached_property
    def digest(self) -> str:
        """What names these ids in this order and parting: 32 hexadecimal digits."""
        hasher = blake3(np.ascontiguousarray(self.starts_S, dtype="<i8").tobytes())
        hasher.update(np.ascontiguousarray(self.ids_T, dtype="<u4").data.cast("B"))
        return hasher.hexdigest(length=16)

    def rows(self, window: int) -> TextRows:
        """Return every token that has `window` tokens of its own text before it, with these."""
        whole = max(self.tokens - window, 0)
        inside = np.ones(whole, bool)
        for back in range(1, window + 1):
            crossing = self.starts_S[1:-1] - back
            inside[crossing[(crossing >= 0) & (crossing < whole)]] = False
        windows = [self.ids_T[j : j + whole] for j in range(window)]
        return TextRows(tuple(windows), self.ids_T[window : window + whole], inside)

    def windows(self, window: int) -> tuple[NDArray[np.uint32], ...]:
        """Return every run of `window` tokens inside one text, as columns."""
        rows = self.rows(window - 1)
        return tuple(column[rows.inside_N] for column in (*rows.windows_KN, rows.tokens_N))

    def text_of_rows(self, window: int) -> NDArray[np.int64]:
        """Return for each row of `rows`, those across an end among them, its token's text."""
        lengths = np.diff(self.starts_S)
        return np.repeat(np.arange(self.texts), lengths)[window:]

    def refuse_strangers(self, vocabulary: int) -> None:
        """Raise `PotstillError` for an id that a vocabulary of this size does not have."""
        if self.tokens and int(self.ids_T.max()) >= vocabulary:
            raise PotstillError(
                f"the texts have token ids of {vocabulary:,} and above, which the vocabulary of "
                "the marked model does not have; give them in the tokenizer that wrote the marks"
            )


@dataclass(frozen=True)
class TextRows:
    """N tokens with the K before each; `inside_N` is false where these reach into another text.

    The arrays are views of one array of ids.
    """

    windows_KN: tuple[NDArray[np.uint32], ...]
    tokens_N: NDArray[np.uint32]
    inside_N: NDArray[np.bool_]


def _ids(text: ArrayLike | Sequence[int]) -> NDArray[np.uint32]:
    found: NDArray[Any] = np.asarray(text)
    if found.dtype == np.uint32 and found.ndim == 1:
        return found
    if not found.size:
        return np.empty(0, np.uint32)
    whole = found.ndim == 1 and found.dtype.kind in "iu"
    if not whole or int(found.min()) < 0 or int(found.max()) >= _NO_ID:
        raise PotstillError(
            "a text is a list of token ids, which are whole numbers from 0 on; give one list of "
            "them for each text"
        )
    return found.astype(np.uint32, copy=False)
