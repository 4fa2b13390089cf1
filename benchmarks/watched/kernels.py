"""Windows of one account by MMD, after arXiv 2606.05725 with a plain embedding.

The paper embeds each query with a sentence encoder (bge-small), and compares a window of up to
1,500 queries with benign traffic by the unbiased estimate of MMD squared (Gretton et al. 2012,
equation 3) under RBF kernels of 0.5, 1, 2 and 4 times the median distance, averaged. Here the
embedding is TF-IDF over hashed words, reduced to unit vectors by a truncated SVD fitted on the
history (LSA): no network is run. What a sentence encoder would see more or less is not tried.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.preprocessing import normalize

Floats = NDArray[np.float32]
DIMENSIONS = 64
# The paper's window, and the bandwidths in median distances.
LONGEST, BANDWIDTHS = 1_500, (0.5, 1.0, 2.0, 4.0)
_REFERENCE, _CHUNK = 2_000, 4_096
_SEED = 7


@dataclass(frozen=True)
class Embedding:
    """Texts as unit vectors. Words are runs of letters; a Chinese character is one."""

    words: HashingVectorizer
    weights: TfidfTransformer
    axes: TruncatedSVD

    @classmethod
    def fitted(cls, texts: Sequence[str]) -> Embedding:
        """Return an embedding whose weights and axes are of these texts."""
        words = HashingVectorizer(
            n_features=2**18, token_pattern=r"[\u4e00-\u9fff]|[^\W\d_]+", alternate_sign=False,
            norm=None, dtype=np.float32,
        )  # fmt: skip
        counts = words.transform(texts)
        weights = TfidfTransformer(sublinear_tf=True).fit(counts)
        axes = TruncatedSVD(DIMENSIONS, random_state=_SEED).fit(weights.transform(counts))
        return cls(words, weights, axes)

    def of(self, texts: Iterable[str]) -> Floats:
        """Return the vectors of texts, one a row; that of an empty text is zero."""
        counts = self.words.transform(texts)
        found: Floats = normalize(self.axes.transform(self.weights.transform(counts)))
        return found.astype(np.float32)


@dataclass(frozen=True)
class Reference:
    """Benign requests that windows are compared with."""

    vectors_MD: Floats
    median: float
    own: float
    """The mean kernel of two different ones of them."""

    @classmethod
    def of(cls, vectors_ND: Floats) -> Reference:
        """Return a reference drawn from the vectors of a history."""
        rng = np.random.default_rng(_SEED)
        some = rng.choice(len(vectors_ND), min(_REFERENCE, len(vectors_ND)), replace=False)
        drawn = vectors_ND[np.sort(some)]
        squares = _squares(drawn, drawn)
        median = float(np.sqrt(np.median(squares[np.triu_indices(len(drawn), 1)])))
        found = cls(drawn, median, 0.0)
        return cls(drawn, median, _apart(found.kernel(squares)))

    def kernel(self, squares: Floats) -> Floats:
        """Return the mean kernel of squared distances.

        Bandwidths are doubled from one to the next, so that each kernel is the fourth power of
        the next wider one's.
        """
        wide = np.exp(squares / np.float32(-2 * (BANDWIDTHS[-1] * self.median) ** 2))
        total = wide.copy()
        for _ in BANDWIDTHS[1:]:
            wide = np.square(np.square(wide))
            total += wide
        found: Floats = total / np.float32(len(BANDWIDTHS))
        return found

    def near(self, vectors_ND: Floats) -> NDArray[np.float64]:
        """Return each vector's mean kernel with the reference."""
        parts = [
            self.kernel(_squares(vectors_ND[i : i + _CHUNK], self.vectors_MD)).mean(axis=1)
            for i in range(0, len(vectors_ND), _CHUNK)
        ]
        return np.concatenate([*parts, np.zeros(0)]).astype(np.float64)

    def score(self, vectors_ND: Floats, near_N: NDArray[np.float64]) -> float:
        """Return the unbiased MMD squared of a window to the reference; at least two requests."""
        inside = _apart(self.kernel(_squares(vectors_ND, vectors_ND)))
        return inside + self.own - 2 * float(near_N.mean())

    def scores(self, vectors_ND: Floats, window_N: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return each window's MMD squared; windows are numbered from 0, a request has one.

        Of a longer window LONGEST requests are taken, at even steps.
        """
        near = self.near(vectors_ND)
        order = np.argsort(window_N, kind="stable")
        ends = np.cumsum(np.bincount(window_N))
        found = np.empty(len(ends))
        for number, (begin, end) in enumerate(zip(np.r_[0, ends[:-1]], ends, strict=True)):
            mine = order[begin:end]
            if len(mine) > LONGEST:
                mine = mine[np.linspace(0, len(mine) - 1, LONGEST).astype(np.int64)]
            found[number] = self.score(vectors_ND[mine], near[mine])
        return found


def null_quantiles(
    reference: Reference,
    history_ND: Floats,
    sizes: Iterable[int],
    rate: float,
    draws: int = 1_000,
) -> dict[int, float]:
    """Return for window sizes the threshold that the paper sets, by windows of everybody.

    Each null window is drawn from the whole history, not from one account.
    """
    rng, near = np.random.default_rng(_SEED), reference.near(history_ND)
    found = {}
    for size in sizes:
        some = rng.integers(len(history_ND), size=(draws, size))
        null = [reference.score(history_ND[one], near[one]) for one in some]
        found[size] = float(np.quantile(null, 1 - rate))
    return found


def _squares(one_ND: Floats, other_MD: Floats) -> Floats:
    lengths = np.square(one_ND).sum(axis=1)[:, None] + np.square(other_MD).sum(axis=1)[None, :]
    found: Floats = np.maximum(lengths - 2 * (one_ND @ other_MD.T), 0)
    return found


def _apart(kernel_NN: Floats) -> float:
    """Return the mean over pairs of different ones."""
    n = len(kernel_NN)
    return float((kernel_NN.sum(dtype=np.float64) - np.trace(kernel_NN)) / (n * (n - 1)))
