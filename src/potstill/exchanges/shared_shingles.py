"""Which texts share many of their shingles, for a hundred thousand texts at once.

Words become numbers, and so do shingles: (text, shingle) pairs in arrays take a fraction of the
memory that sets of tuples take. Array suffixes: T words of all texts one after another, R runs of
words that lie within a text, P pairs, Q those of them that matter, J pairs of texts that share a
shingle, S shingles, N texts.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer[Any]]
Bools = NDArray[np.bool_]

# Pairs of texts that are counted at once: what many variants of one text take in memory.
_JOINED = 1_000_000
# What a number of words in a row may reach.
_LARGEST = 2**63 - 1
# Stands where a text is shorter than a shingle; no word has this number.
_FILLER = 0


@dataclass(frozen=True)
class Numbered:
    """Texts as numbers of words, one text after another; text n ends at `end_N[n]`.

    Two texts have the same words if and only if they have the same numbers, which are all below
    `words`.
    """

    word_T: Ints
    end_N: Ints
    words: int

    def keys(self) -> Iterator[bytes]:
        """Return for each text what equals that of another with the same words, and no other."""
        start = 0
        for end in self.end_N.tolist():
            yield self.word_T[start:end].tobytes()
            start = end


@dataclass(frozen=True)
class ShingleSets:
    """The distinct shingles of each text, as pairs sorted by shingle, and how many a text has."""

    text_P: Ints
    shingle_P: Ints
    size_N: Ints

    def only(self, kept_P: Bools) -> ShingleSets:
        """Return the sets with these pairs alone; every text stays, be it without any."""
        text_P = self.text_P[kept_P]
        sizes = np.bincount(text_P, minlength=len(self.size_N))
        return ShingleSets(text_P, self.shingle_P[kept_P], sizes)

    def of(self, wanted_N: Bools) -> ShingleSets:
        """Return the sets with those of the other texts emptied."""
        return self.only(wanted_N[self.text_P])


def numbered(texts: Iterable[Sequence[str]], size: int) -> Numbered:
    """Return texts, given as their words; shorter ones are filled up to `size`."""
    number: defaultdict[str | None, int] = defaultdict(int, {None: _FILLER})
    number.default_factory = number.__len__
    words, ends = array("i"), array("q")
    for text in texts:
        words.extend(map(number.__getitem__, text))
        words.extend([_FILLER] * (size - len(text)))
        ends.append(len(words))
    return Numbered(np.frombuffer(words, np.int32), np.frombuffer(ends, np.int64), len(number))


def shingle_sets(texts: Numbered, size: int) -> ShingleSets:
    """Return the runs of `size` words of each text; a text of fewer words is one shingle."""
    lengths = np.diff(texts.end_N, prepend=0)
    text_T = np.repeat(np.arange(len(lengths), dtype=np.int32), lengths)
    starts = max(0, len(text_T) - size + 1)
    # A run that reaches into the next text is none.
    inside = text_T[:starts] == text_T[size - 1 :]
    text_R = text_T[:starts][inside]
    run_R = _runs(texts, size)[inside]
    # Stable, so that equal runs of one text stand side by side.
    order = np.argsort(run_R, kind="stable")
    text_R, run_R = text_R[order], run_R[order]
    another_R = np.diff(run_R, prepend=-1) != 0
    shingle_R = np.cumsum(another_R, dtype=np.int32) - 1
    distinct_R = another_R | (np.diff(text_R, prepend=-1) != 0)
    text_P, shingle_P = text_R[distinct_R], shingle_R[distinct_R]
    return ShingleSets(text_P, shingle_P, np.bincount(text_P, minlength=len(lengths)))


def similar(texts: ShingleSets, others: ShingleSets, threshold: float) -> Bools:
    """Return found_N: which texts have a Jaccard similarity of `threshold` to any of the others.

    An empty set is similar to none. Time grows with the number of pairs that share a shingle;
    memory does not.
    """
    found_N = np.zeros(len(texts.size_N), np.bool_)
    last = max(texts.shingle_P.max(initial=-1), others.shingle_P.max(initial=-1))
    count_S = np.bincount(others.shingle_P, minlength=last + 1)
    first_S = np.cumsum(count_S) - count_S
    # Of shingles that only one side has nothing is to be counted.
    shared_Q = np.flatnonzero(count_S[texts.shingle_P])
    shared_Q = shared_Q[np.argsort(texts.text_P[shared_Q], kind="stable")]
    text_Q, shingle_Q = texts.text_P[shared_Q], texts.shingle_P[shared_Q]
    count_Q, first_Q = count_S[shingle_Q], first_S[shingle_Q]
    for part in _parts(text_Q, count_Q):
        counts = count_Q[part]
        text_J = np.repeat(text_Q[part].astype(np.int64), counts)
        # The pairs of others with a shingle stand at first, first + 1, ...
        steps = np.arange(len(text_J)) - np.repeat(np.cumsum(counts) - counts, counts)
        other_J = others.text_P[np.repeat(first_Q[part], counts) + steps]
        joined, shared = np.unique(text_J * len(others.size_N) + other_J, return_counts=True)
        one, other = np.divmod(joined, len(others.size_N))
        alike = shared / (texts.size_N[one] + others.size_N[other] - shared) >= threshold
        found_N[one[alike]] = True
    return found_N


def _runs(texts: Numbered, size: int) -> Ints:
    """Return a number for each run of words, the same for the same words alone."""
    starts = max(0, len(texts.word_T) - size + 1)
    run_R = texts.word_T[:starts].astype(np.int64)
    runs = texts.words
    for place in range(1, size):
        if runs * texts.words > _LARGEST:
            # With very many words the product of their numbers is too large; ranks never are.
            run_R = np.unique(run_R, return_inverse=True)[1]
            runs = len(run_R)
        run_R *= texts.words
        run_R += texts.word_T[place : place + starts]
        runs *= texts.words
    return run_R


def _parts(text_Q: Ints, count_Q: Ints) -> Iterator[slice]:
    """Yield what is joined at once: whole texts of at most `_JOINED` pairs, or a single one."""
    if not len(text_Q):
        return
    ends = np.append(np.flatnonzero(np.diff(text_Q)) + 1, len(text_Q))
    joined = np.cumsum(count_Q)[ends - 1]
    start, text, before = 0, 0, 0
    while text < len(ends):
        within = int(np.searchsorted(joined, before + _JOINED, "right"))
        text = max(within, text + 1)
        yield slice(start, int(ends[text - 1]))
        start, before = int(ends[text - 1]), int(joined[text - 1])
