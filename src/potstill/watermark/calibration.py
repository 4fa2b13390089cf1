"""Is a detection's p-value what it says? Trials on texts without a mark, under fresh keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kstest

from potstill.progress import Step
from potstill.stats.exact import clopper_pearson, holm
from potstill.watermark.coins import coin_of
from potstill.watermark.detect import distinct_scores
from potstill.watermark.null_texts import NullText
from potstill.watermark.schemes import Scheme

LEVELS = (0.05, 0.01, 0.001)
# A level is called missed where it lies outside an interval that all of the table's intervals
# together cover with this chance.
CONFIDENCE = 0.999


@dataclass(frozen=True)
class RateAtLevel:
    """How often a p-value was at most `level`.

    `randomised` is the share of randomised p-values, `lower` and `upper` its interval of Clopper
    and Pearson, at 99.9% over the whole table; `inside` tells whether the level lies in it.
    `exact` is the share of the p-values that are printed, which are at most as often small.
    """

    level: float
    randomised: float
    lower: float
    upper: float
    inside: bool
    exact: float


@dataclass(frozen=True)
class CalibrationRow:
    """One scheme on one kind of text; `adjusted_ks_p` is Holm's over the table."""

    scheme: str
    parameters: dict[str, float]
    text: str
    trials: int
    mean_scored: float
    ks_p: float
    adjusted_ks_p: float
    levels: tuple[RateAtLevel, ...]


@dataclass(frozen=True)
class Calibration:
    """A table of null trials, and what it comes to.

    `ks_p_min` is the least of the adjusted p-values that randomised p-values are uniform;
    `fpr_at_01` the share of all trials whose printed p is at most 0.01; `holds` tells whether
    `ks_p_min` is above 0.01 and every level inside its interval.
    """

    seed: int
    rows: tuple[CalibrationRow, ...]
    ks_p_min: float
    fpr_at_01: float
    holds: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the form it has in JSON."""
        return asdict(self)


@dataclass(frozen=True)
class NullTrials:
    """The p-values of one row, and how many distinct inputs the trials scored on average."""

    randomised_N: NDArray[np.float64]
    exact_N: NDArray[np.float64]
    mean_scored: float


def calibrate(
    schemes: Sequence[Scheme],
    kinds: Sequence[NullText],
    *,
    trials: int,
    seed: int,
    step: Step | None = None,
) -> Calibration:
    """Return how each scheme's p-values are spread on each kind of text.

    Every trial draws its own texts and takes a key of its own, the same for the same seed. The
    `step` moves on by one a row. Raises ValueError for no rows or fewer than 100 trials.
    """
    if not schemes or not kinds or trials < 100:
        raise ValueError("a calibration takes a scheme, a kind of text and 100 trials at least")
    found: list[tuple[Scheme, NullText, NullTrials]] = []
    for scheme in schemes:
        for kind in kinds:
            rng = np.random.default_rng([seed, len(found)])
            found.append((scheme, kind, null_trials(scheme, kind, trials, rng)))
            if step is not None:
                step.advance(1)
    return _table(found, seed)


def null_trials(
    scheme: Scheme, kind: NullText, trials: int, rng: np.random.Generator, *, one_key: bool = False
) -> NullTrials:
    """Return the p-values of a scheme on texts without a mark.

    `one_key` keeps the scheme's own key for all trials; else each has a decoy's.
    """
    scored_N, total_N = np.zeros(trials, np.int64), np.zeros(trials)
    coin_N = np.zeros(trials)
    for trial in range(trials):
        keyed = scheme if one_key else scheme.decoy(trial)
        texts = kind.draw(rng)
        scores = distinct_scores(keyed, texts)
        scored_N[trial], total_N[trial] = len(scores), scores.sum()
        coin_N[trial] = coin_of(keyed.key_id, texts.digest)
    return NullTrials(
        randomised_N=scheme.law.randomised_p(total_N, scored_N, coin_N),
        exact_N=scheme.law.p(total_N, scored_N),
        mean_scored=float(scored_N.mean()),
    )


def rate_at(level: float, trials: NullTrials, confidence: float) -> RateAtLevel:
    """Return how often p-values were at most `level`, with an interval of that confidence."""
    hits = int((trials.randomised_N <= level).sum())
    count = len(trials.randomised_N)
    lower, upper = clopper_pearson(hits, count, confidence)
    exact = float(np.mean(trials.exact_N <= level))
    return RateAtLevel(level, hits / count, lower, upper, lower <= level <= upper, exact)


def _table(found: Sequence[tuple[Scheme, NullText, NullTrials]], seed: int) -> Calibration:
    ks = [float(kstest(trials.randomised_N, "uniform").pvalue) for _, _, trials in found]
    confidence = 1 - (1 - CONFIDENCE) / (len(found) * len(LEVELS))
    rows = tuple(
        CalibrationRow(
            scheme=scheme.name,
            parameters=scheme.parameters(),
            text=kind.name,
            trials=len(trials.exact_N),
            mean_scored=trials.mean_scored,
            ks_p=ks_p,
            adjusted_ks_p=adjusted,
            levels=tuple(rate_at(level, trials, confidence) for level in LEVELS),
        )
        for (scheme, kind, trials), ks_p, adjusted in zip(found, ks, holm(ks), strict=True)
    )
    ks_p_min = min(row.adjusted_ks_p for row in rows)
    every_p = np.concatenate([trials.exact_N for _, _, trials in found])
    inside = all(level.inside for row in rows for level in row.levels)
    return Calibration(
        seed, rows, ks_p_min, float(np.mean(every_p <= 0.01)), ks_p_min > 0.01 and inside
    )
