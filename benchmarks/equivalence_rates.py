"""Simulate how often a student is called what, where the truth is known.

    python benchmarks/equivalence_rates.py > benchmarks/equivalence_rates.json

Paired differences of scores are drawn from four populations, at a true difference of exactly
minus the margin (where `not worse` is wrong) and of 0 (where `better` and `worse` are). The
bootstrap alone is counted beside the interval in use. Takes about ten minutes on one core.
"""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np

from potstill.stats import bootstrap, equivalence

SEED = 20_260_201
MARGIN = 0.03
CONFIDENCE = 0.95
TRIALS = 4_000
PROMPTS = (100, 200, 400)
RESAMPLES = 2_000
# Trials that share one set of resampling weights: independent data, so rates are unbiased.
BLOCK = 100
# Chance that the student alone is right; the teacher alone is, as much more often as is true.
RIGHT_OR_WRONG = {"one-sided": 0.0, "few differ": 0.02, "many differ": 0.12}
PARTIAL = "partial scores"
POPULATIONS = (*RIGHT_OR_WRONG, PARTIAL)


def draw(
    rng: np.random.Generator, population: str, truth: float, size: tuple[int, ...]
) -> np.ndarray:
    """Return differences, student minus teacher, whose mean is `truth` (0 or below)."""
    if population == PARTIAL:
        # Three in ten differ, by an amount that is even between two bounds 1 apart.
        differs = rng.random(size) < 0.3
        return differs * (rng.random(size) - 0.5 + truth / 0.3)
    up = RIGHT_OR_WRONG[population]
    chance = rng.random(size)
    return 1.0 * (chance < up) - 1.0 * (chance > 1 - (up - truth))


@lru_cache(maxsize=100_000)
def _score_interval(values: tuple[float, ...], counts: tuple[int, ...]) -> tuple[float, float]:
    return equivalence.score_interval(np.repeat(values, counts), CONFIDENCE)


def rates(
    population: str,
    prompts: int,
    truth: float,
    *,
    trials: int = TRIALS,
    resamples: int = RESAMPLES,
    seed: int = SEED,
) -> dict[str, float | int | str]:
    """Return how often each word was said, and how often the interval held the truth."""
    rng = np.random.default_rng([seed, prompts, POPULATIONS.index(population)])
    words = dict.fromkeys(("better", "not worse", "worse", "inconclusive"), 0)
    covered = alone = 0
    for first in range(0, trials, BLOCK):
        count = min(BLOCK, trials - first)
        data_PT = draw(rng, population, truth, (prompts, count))
        sums_BT = bootstrap.resampled_sums(data_PT, resamples=resamples, seed=seed + first)
        for t in range(count):
            boot = bootstrap.interval_from_sums(
                lambda s: s[..., 0] / prompts, data_PT[:, [t]], sums_BT[:, [t]], level=CONFIDENCE
            )
            values, counts = np.unique(data_PT[:, t], return_counts=True)
            low, high = _score_interval(tuple(values.tolist()), tuple(counts.tolist()))
            # All differences equal: there is no bootstrap interval.
            ends = boot.ends or (boot.value, boot.value)
            low, high = min(low, ends[0]), max(high, ends[1])
            words[equivalence.word_for(low, high, MARGIN)] += 1
            covered += low <= truth <= high
            alone += equivalence.word_for(*ends, MARGIN) in ("better", "not worse")
    return {
        "population": population,
        "prompts": prompts,
        "truth": truth,
        **{word: round(said / trials, 4) for word, said in words.items()},
        "coverage": round(covered / trials, 4),
        "bootstrap_alone_better_or_not_worse": round(alone / trials, 4),
    }


def main() -> None:
    records = [
        rates(population, prompts, truth)
        for truth in (-MARGIN, 0.0)
        for prompts in PROMPTS
        for population in POPULATIONS
        # Nobody ever differs there.
        if (population, truth) != ("one-sided", 0.0)
    ]
    head = {
        "seed": SEED,
        "trials": TRIALS,
        "resamples": RESAMPLES,
        "margin": MARGIN,
        "confidence": CONFIDENCE,
    }
    lines = ",\n  ".join(json.dumps(record) for record in records)
    print(json.dumps(head)[:-1] + ',\n "records": [\n  ' + lines + "\n ]}")


if __name__ == "__main__":
    main()
