"""Is one model as good as another on the same prompts? (docs/methods/tasks.md)

The interval of the paired difference is the wider, at each end, of two: the bootstrap over
prompts, and the score interval. The bootstrap alone is too narrow where the models differ on few
prompts: with no difference among the prompts it saw it has no width at all.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from potstill.stats.bootstrap import (
    LEVEL,
    RESAMPLES,
    Floats,
    Interval,
    interval_from_sums,
    resampled_sums,
)

Word = Literal["better", "not worse", "worse", "inconclusive"]

# Chance that a comparison of `needed` prompts decides, if the figures stay as measured.
POWER = 0.8
_TOLERANCE = 1e-10


@dataclass(frozen=True)
class Comparison:
    """The student's mean score minus the teacher's over `n` prompts, and what to call it.

    `lo` and `hi` are the ends of the interval at `confidence`. `needed` is the number of prompts
    that would decide, with an inconclusive comparison alone; None too where no number would.
    """

    difference: float
    lo: float
    hi: float
    n: int
    margin: float
    confidence: float
    word: Word
    needed: int | None = None

    @property
    def sentence(self) -> str:
        """The word as it is printed, for example `not worse within 0.03`."""
        if self.word == "not worse":
            return f"not worse within {self.margin:g}"
        if self.needed is not None:
            return f"inconclusive ({self.needed:,} prompts would decide)"
        return self.word


def compare(
    student_P: ArrayLike,
    teacher_P: ArrayLike,
    *,
    margin: float,
    confidence: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Return the comparison of two models that answered the same prompts.

    Both give one score in [0, 1] a prompt, in the same order; several answers to one prompt are
    averaged first. Raises ValueError for other scores, for lengths that differ, no prompts,
    fewer than 2,000 resamples, a margin outside [0, 1) or a confidence outside (0, 1).
    """
    if not 0 <= margin < 1 or not 0 < confidence < 1:
        raise ValueError("margin must be in [0, 1) and confidence in (0, 1)")
    if resamples < RESAMPLES:
        raise ValueError(f"a comparison takes at least {RESAMPLES} resamples")
    difference_P = _differences(student_P, teacher_P)
    columns = np.stack([difference_P, np.ones_like(difference_P)], axis=1)
    sums_BK = resampled_sums(columns, resamples=resamples, seed=seed)
    boot = interval_from_sums(_mean, columns, sums_BK, level=confidence)
    return judged(difference_P, boot, margin=margin, confidence=confidence)


def judged(
    difference_P: Floats, bootstrap: Interval, *, margin: float, confidence: float
) -> Comparison:
    """Return the comparison whose bootstrap interval is known."""
    score_lo, score_hi = score_interval(difference_P, confidence)
    lo, hi = score_lo, score_hi
    if bootstrap.ends is not None:
        lo, hi = min(bootstrap.ends[0], lo), max(bootstrap.ends[1], hi)
    word = word_for(lo, hi, margin)
    needed = None
    if word == "inconclusive":
        needed = prompts_needed(difference_P, margin, confidence)
    mean = float(difference_P.mean())
    return Comparison(mean, lo, hi, len(difference_P), margin, confidence, word, needed)


def word_for(lo: float, hi: float, margin: float) -> Word:
    """Return the word for an interval of student minus teacher; the first that holds.

    `better`: all of it is above 0. `not worse`: all of it is above -margin, even where all of it
    is below 0. `worse`: all of it is below 0 and it reaches -margin. Else `inconclusive`.
    """
    if lo > 0:
        return "better"
    if lo > -margin:
        return "not worse"
    if hi < 0:
        return "worse"
    return "inconclusive"


def score_interval(difference_P: Floats, confidence: float = LEVEL) -> tuple[float, float]:
    """Return the ends of the score interval of the mean of differences in [-1, 1].

    A mean is inside when the measured one is within z standard errors of it, where the spread is
    that of the distribution closest to the data (in likelihood) that has this very mean. For
    right-or-wrong scores this is Tango's interval (1998, Statistics in Medicine 17, 891-908).
    """
    values, counts = np.unique(difference_P, return_counts=True)
    weights = counts.astype(np.float64)
    quantile = float(ndtri((1 + confidence) / 2))
    return (
        _lower_end(values, weights, quantile),
        -_lower_end(-values[::-1], weights[::-1], quantile),
    )


def constrained_variance(values: Floats, counts: Floats, mean: float) -> float:
    """Return the variance of the likeliest distribution on [-1, 1] that has this mean.

    `values` were seen `counts` times. The distribution puts weight on them, and on -1 or 1 where
    the mean cannot be reached otherwise (empirical likelihood, Owen 1988, with both ends of the
    scale added to its support).
    """
    # It takes long to import, and most of what imports this module never needs it.
    from scipy.optimize import brentq

    total = counts.sum()
    shifted = values - mean
    # Weights are counts / total / (1 + tilt * shifted); these tilts keep those of -1 and 1 finite.
    least, most = -1 / (1 - mean), 1 / (1 + mean)

    def slope(tilt: float) -> float:
        with np.errstate(divide="ignore"):
            return float(np.sum(counts * shifted / (1 + tilt * shifted)))

    edge = 0.0
    if values[0] > -1 and slope(most) >= 0:
        tilt, edge = most, -1.0
    elif values[-1] < 1 and slope(least) <= 0:
        tilt, edge = least, 1.0
    else:
        inside = 1e-12 * (most - least)
        low, high = least + inside, most - inside
        between = slope(low) > 0 > slope(high)
        tilt = brentq(slope, low, high, xtol=1e-14) if between else low if mean > 0 else high
    weights = counts / total / (1 + tilt * shifted)
    rest = max(0.0, 1.0 - float(weights.sum()))
    return float(np.sum(weights * shifted**2)) + rest * (edge - mean) ** 2


def prompts_needed(difference_P: Floats, margin: float, confidence: float = LEVEL) -> int | None:
    """Return how many prompts would give another word than inconclusive, with 80% power.

    It is assumed that the difference and its spread stay as measured; the spread is taken at
    the margin where that is larger, so that few differing prompts do not promise too much. None
    where nothing would decide: no difference and no margin.
    """
    n = len(difference_P)
    mean = float(difference_P.mean())
    gap = max(mean + margin, -mean)
    if gap <= 0:
        return None
    values, counts = np.unique(difference_P, return_counts=True)
    spread = float(difference_P.var(ddof=1)) if n > 1 else 0.0
    if margin > 0:
        spread = max(spread, constrained_variance(values, counts.astype(np.float64), -margin))
    width = float(ndtri((1 + confidence) / 2) + ndtri(POWER))
    return max(n + 1, math.ceil(width**2 * spread / gap**2))


def _lower_end(values: Floats, counts: Floats, quantile: float) -> float:
    """Return the smallest mean that the data does not contradict, to within 1e-10."""
    total = counts.sum()
    mean = float(np.sum(values * counts) / total)

    def excess(candidate: float) -> float:
        variance = constrained_variance(values, counts, candidate)
        return (mean - candidate) - quantile * math.sqrt(variance / total)

    outside, inside = -1.0, mean
    if mean <= -1 or excess(outside + _TOLERANCE) <= 0:
        return -1.0
    while inside - outside > _TOLERANCE:
        middle = (inside + outside) / 2
        if excess(middle) > 0:
            outside = middle
        else:
            inside = middle
    return outside


def _differences(student_P: ArrayLike, teacher_P: ArrayLike) -> Floats:
    student = np.asarray(student_P, dtype=np.float64)
    teacher = np.asarray(teacher_P, dtype=np.float64)
    if student.ndim != 1 or student.shape != teacher.shape or not len(student):
        raise ValueError("scores must be one a prompt, the same prompts for both, at least one")
    if not all(np.all((scores >= 0) & (scores <= 1)) for scores in (student, teacher)):
        raise ValueError("scores must lie in [0, 1]")
    return student - teacher


def _mean(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1], dtype=np.float64)
