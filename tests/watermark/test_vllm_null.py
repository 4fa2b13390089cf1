"""The nulls of vLLM's marks, simulated: text that knows no key, under a fresh key a trial.

The text repeats itself, within documents and between them: a window that stands in every document
is one input of the keyed function, and counts once. Counted once a document, as detectors do that
see one document at a time, the same scores give false alarms.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pytest
from scipy import stats

from potstill.stats.exact import clopper_pearson, holm
from potstill.watermark.schemes import Scheme
from potstill.watermark.vllm import Algorithm, VllmConfig, schemes_of

SEED = 26_114
ALGORITHMS: tuple[Algorithm, ...] = ("gumbel", "dual_key_gumbel", "sbw")
TESTS = 5  # the one of gumbel, the three of dual_key_gumbel, the one of sbw
LEVELS = (0.05, 0.01, 0.001)


def documents(rng: np.random.Generator) -> list[np.ndarray]:
    """Twelve documents of a skewed vocabulary, with a loop in each and boilerplate in all."""
    boilerplate = rng.zipf(1.3, 40) % 5000
    texts = []
    for _ in range(12):
        loop = rng.zipf(1.3, 5) % 5000
        texts.append(np.concatenate([boilerplate, rng.zipf(1.3, 30) % 5000, np.tile(loop, 6)]))
    return texts


def rows(texts: Sequence[np.ndarray], window: int) -> np.ndarray:
    """Windows and tokens (positions, window + 1) of all documents, none reaching across."""
    return np.concatenate(
        [np.lib.stride_tricks.sliding_window_view(text, window + 1) for text in texts]
    )


def distinct(columns: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return each row of the columns once."""
    table = np.unique(np.stack([column.astype(np.uint64) for column in columns]), axis=1)
    return [row.astype(column.dtype) for row, column in zip(table, columns, strict=True)]


def totals(scheme: Scheme, table: np.ndarray) -> tuple[float, int]:
    inputs = distinct(scheme.inputs(list(table.T[:-1]), table.T[-1]))
    scored = scheme.scores(tuple(inputs))
    return float(scored.sum()), len(scored)


@lru_cache
def simulated(
    algorithm: Algorithm, trials: int
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return randomised p-values by test: all documents at once, and once a document."""
    rng = np.random.default_rng([SEED, ALGORITHMS.index(algorithm)])
    texts = documents(rng)
    whole = np.unique(rows(texts, 4), axis=0)  # equal rows are equal inputs under any key
    each = [np.unique(rows([text], 4), axis=0) for text in texts]
    often = np.concatenate(each)
    ours: dict[str, list[float]] = {}
    theirs: dict[str, list[float]] = {}
    for _ in range(trials):
        key = int(rng.integers(0, 2**64, dtype=np.uint64))
        for scheme in schemes_of(VllmConfig(algorithm=algorithm, key=key)):
            coin = rng.random(2)
            total, n = totals(scheme, whole)
            ours.setdefault(scheme.name, []).append(
                float(scheme.law.randomised_p(total, n, coin[0]))
            )
            scored = scheme.scores(scheme.inputs(list(often.T[:-1]), often.T[-1]))
            p = scheme.law.randomised_p(scored.sum(), len(scored), coin[1])
            theirs.setdefault(scheme.name, []).append(float(p))
    return (
        {name: np.array(p) for name, p in ours.items()},
        {name: np.array(p) for name, p in theirs.items()},
    )


def check(algorithm: Algorithm, trials: int, levels: Sequence[float]) -> None:
    ours, theirs = simulated(algorithm, trials)
    # Bonferroni over the table: every test of every algorithm at every level.
    confidence = 1 - 0.001 / (TESTS * len(levels))
    ks = holm([float(stats.kstest(p, "uniform").pvalue) for p in ours.values()])
    assert min(ks) > 0.01
    for name, p_T in ours.items():
        for level in levels:
            low, high = clopper_pearson(int((p_T <= level).sum()), trials, confidence)
            assert low <= level <= high, (name, level, low, high)
        # The same scores, boilerplate counted once a document.
        low, _ = clopper_pearson(int((theirs[name] <= 0.01).sum()), trials, confidence)
        assert low > 0.02, (name, low)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_null_holds_and_counting_once_a_document_breaks_it(algorithm: Algorithm) -> None:
    check(algorithm, 1_000, LEVELS[:2])


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_null_holds_over_20_000_keys(algorithm: Algorithm) -> None:
    check(algorithm, 20_000, LEVELS)


def test_bonferroni_over_the_keys_of_dual_key_is_conservative() -> None:
    ours, _ = simulated("dual_key_gumbel", 1_000)
    least_T = np.minimum(1.0, len(ours) * np.minimum.reduce(list(ours.values())))
    for level in LEVELS[:2]:
        low, _ = clopper_pearson(int((least_T <= level).sum()), 1_000, 0.999)
        assert low <= level
