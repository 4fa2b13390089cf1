"""Bootstrap intervals for ratios of sums over prompts (docs/methods/intervals.md).

A per-token figure is a ratio: sum over tokens / number of tokens. Tokens of one response are
dependent, prompts are not, so prompts are what is resampled. Every function draws the same
resamples for the same seed and number of prompts: that pairs the models that answered the
same prompts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtrit

Floats = NDArray[np.float64]
Method = Literal["expanded", "percentile", "bca"]

RESAMPLES = 2000
LEVEL = 0.95
# Chosen by simulated coverage: benchmarks/interval_coverage.json.
METHOD: Method = "expanded"
# Numbers in one block of multinomial weights, so that memory does not grow with prompts.
_BLOCK = 4_000_000
# Figures that differ by less, as a share of their size, differ by rounding of sums.
_ROUNDING = 1e-12


@dataclass(frozen=True)
class Interval:
    """An estimate with its interval (95% unless asked otherwise) over `n` prompts.

    `lo` and `hi` are None where there is no interval: prompts that do not differ, or a single one,
    say nothing of how far others may.
    """

    value: float
    lo: float | None
    hi: float | None
    n: int

    @property
    def ends(self) -> tuple[float, float] | None:
        """Both ends; None without an interval."""
        return None if self.lo is None or self.hi is None else (self.lo, self.hi)

    def as_dict(self) -> dict[str, Any]:
        """Return the form it has in evaluation.json: {value, ci95: [lo, hi] or None, n}."""
        return {"value": self.value, "ci95": self.ends and list(self.ends), "n": self.n}


def ratio_interval(
    numerator_P: ArrayLike,
    denominator_P: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    method: Method = METHOD,
) -> Interval:
    """Return sum(numerator) / sum(denominator), both given as one number a prompt.

    Raises ValueError where the denominators sum to zero.
    """
    return statistic_interval(
        _ratio, [numerator_P, denominator_P], resamples=resamples, seed=seed, method=method
    )


def mean_score_interval(
    score_P: ArrayLike, *, resamples: int = RESAMPLES, seed: int = 0, method: Method = METHOD
) -> Interval:
    """Return the mean of scores in [0, 1], one a prompt; exact where all are 0, or all are 1.

    Raises ValueError for scores outside [0, 1].
    """
    scores = np.asarray(score_P, dtype=np.float64)
    if np.any((scores < 0) | (scores > 1)):
        raise ValueError("scores must lie in [0, 1]")
    ones = np.ones_like(scores)
    found = ratio_interval(scores, ones, resamples=resamples, seed=seed, method=method)
    if np.all(scores == 0) or np.all(scores == 1):
        return Interval(found.value, *bounds_of_equal_scores(found.value, found.n), found.n)
    return found


def bounds_of_equal_scores(
    value: float, prompts: int, *, level: float = LEVEL
) -> tuple[float, float]:
    """Return the exact interval of a mean score in [0, 1] where all prompts scored 0, or all 1.

    It is that of Clopper and Pearson (1934): whatever the scores' distribution, n of them are all
    1 with a chance of at most mean^n, so a mean below (alpha / 2)^(1 / n) is refuted. Raises
    ValueError for another value.
    """
    if value not in (0.0, 1.0):
        raise ValueError("scores that are all equal have exact bounds at 0 and 1 alone")
    furthest = ((1 - level) / 2) ** (1 / prompts)
    return (furthest, 1.0) if value == 1.0 else (0.0, 1 - furthest)


def perplexity_interval(
    nll_P: ArrayLike,
    tokens_P: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    method: Method = METHOD,
) -> Interval:
    """Return exp(sum of negative log-likelihoods in nats / tokens)."""
    return statistic_interval(
        lambda sums: np.exp(_ratio(sums)),
        [nll_P, tokens_P],
        resamples=resamples,
        seed=seed,
        method=method,
    )


def difference_interval(
    numerator_P: ArrayLike,
    denominator_P: ArrayLike,
    other_numerator_P: ArrayLike,
    other_denominator_P: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    method: Method = METHOD,
) -> Interval:
    """Return one ratio minus another, paired: both are taken over the same resampled prompts."""
    return statistic_interval(
        lambda sums: _ratio(sums[..., :2]) - _ratio(sums[..., 2:]),
        [numerator_P, denominator_P, other_numerator_P, other_denominator_P],
        resamples=resamples,
        seed=seed,
        method=method,
    )


def quotient_interval(
    numerator_P: ArrayLike,
    denominator_P: ArrayLike,
    other_numerator_P: ArrayLike,
    other_denominator_P: ArrayLike,
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    method: Method = METHOD,
) -> Interval:
    """Return one ratio divided by another, paired. Not finite where the other ratio is zero."""
    return statistic_interval(
        lambda sums: _divided(_ratio(sums[..., :2]), _ratio(sums[..., 2:])),
        [numerator_P, denominator_P, other_numerator_P, other_denominator_P],
        resamples=resamples,
        seed=seed,
        method=method,
    )


def statistic_interval(
    statistic: Callable[[Floats], Floats],
    columns: Sequence[ArrayLike],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
    method: Method = METHOD,
    level: float = LEVEL,
) -> Interval:
    """Return the interval of a smooth function of column sums.

    `columns` holds K sequences of one number a prompt; `statistic` maps sums[..., K] to
    values[...]. `percentile` takes the resamples' quantiles as they are; `expanded` widens them
    to what Student's t needs at this many prompts (Hesterberg 2015, expanded percentile); `bca`
    corrects bias and skewness (Efron and Tibshirani 1993, equations 14.9 to 14.15, the
    acceleration by jackknife). There is no interval with one prompt, nor where no resample gives
    another value: prompts that are all alike hide how far others may lie.

    Raises ValueError for columns of different lengths, no prompts, or a value that is not
    finite.
    """
    values_PK = _stacked(columns)
    sums_BK = resampled_sums(values_PK, resamples=resamples, seed=seed)
    return interval_from_sums(statistic, values_PK, sums_BK, method=method, level=level)


def interval_from_sums(
    statistic: Callable[[Floats], Floats],
    values_PK: Floats,
    sums_BK: Floats,
    *,
    method: Method = METHOD,
    level: float = LEVEL,
) -> Interval:
    """Return the interval of `statistic`, given what `resampled_sums` made of the columns."""
    prompts = len(values_PK)
    total_K = values_PK.sum(axis=0)
    value = float(statistic(total_K))
    if not np.isfinite(value):
        raise ValueError("the statistic is not finite on the data as given")
    draws_B = statistic(sums_BK)
    draws_B = draws_B[np.isfinite(draws_B)]
    if prompts == 1 or not len(draws_B) or _alike(draws_B):
        return Interval(value, None, None, prompts)
    levels = np.array([(1 - level) / 2, (1 + level) / 2])
    if method == "expanded":
        levels = _expanded_levels(levels, prompts)
    elif method == "bca":
        levels = _bca_levels(value, draws_B, statistic(total_K - values_PK), levels)
    lo, hi = np.quantile(draws_B, levels)
    if hi - lo <= _ROUNDING * max(abs(lo), abs(hi)):
        return Interval(value, None, None, prompts)
    return Interval(value, float(lo), float(hi), prompts)


def _alike(draws_B: Floats) -> bool:
    """Tell whether draws differ by rounding at most."""
    least, most = float(draws_B.min()), float(draws_B.max())
    return most - least <= _ROUNDING * max(abs(least), abs(most))


def resampled_sums(values_PK: Floats, *, resamples: int, seed: int) -> Floats:
    """Return sums_BK over `resamples` draws of P prompts with replacement.

    The draw is by multinomial weights, so that one matrix product sums all columns.
    """
    prompts = len(values_PK)
    rng = np.random.default_rng(seed)
    even_P = np.full(prompts, 1 / prompts)
    rows = max(1, _BLOCK // prompts)
    blocks = [
        rng.multinomial(prompts, even_P, size=min(rows, resamples - first)) @ values_PK
        for first in range(0, resamples, rows)
    ]
    return np.concatenate(blocks)


def _stacked(columns: Sequence[ArrayLike]) -> Floats:
    arrays = [np.asarray(column, dtype=np.float64) for column in columns]
    if any(array.ndim != 1 for array in arrays) or len({len(array) for array in arrays}) != 1:
        raise ValueError("columns must be one-dimensional and equally long")
    if not len(arrays[0]):
        raise ValueError("there are no prompts to take an interval over")
    return np.stack(arrays, axis=1)


def _ratio(sums: Floats) -> Floats:
    return _divided(sums[..., 0], sums[..., 1])


def _divided(upper: Floats, lower: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(upper / lower, dtype=np.float64)


def _expanded_levels(levels: Floats, prompts: int) -> Floats:
    """Return the normal levels of t quantiles, times the missing Bessel factor."""
    wide = np.sqrt(prompts / (prompts - 1)) * stdtrit(prompts - 1, levels)
    return np.asarray(ndtr(wide), dtype=np.float64)


def _bca_levels(value: float, draws_B: Floats, jackknife_P: Floats, levels: Floats) -> Floats:
    """Return the quantile levels that correct bias and skewness; unchanged where undefined."""
    # Ties with the value count half, so that a constant statistic has no bias.
    below = (np.sum(draws_B < value) + 0.5 * np.sum(draws_B == value)) / len(draws_B)
    deviation_P = jackknife_P.mean() - jackknife_P
    spread = float(np.sum(deviation_P**2))
    if not 0 < below < 1 or not np.isfinite(spread) or spread == 0:
        return levels
    acceleration = float(np.sum(deviation_P**3)) / (6 * spread**1.5)
    bias = ndtri(below)
    shifted = bias + ndtri(levels)
    scale = 1 - acceleration * shifted
    if np.any(scale <= 0):
        return levels
    return np.asarray(ndtr(bias + shifted / scale), dtype=np.float64)
