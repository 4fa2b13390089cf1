"""Simulate how often the bootstrap intervals of `potstill.stats` cover the truth.

    python benchmarks/interval_coverage.py > benchmarks/interval_coverage.json

Prompts are drawn from a population like the measured ones: response lengths skewed and cut at
96 tokens, per-token KL log-normal between prompts and gamma within, three quarters of it
shared by the student and its baseline. Longer responses have a lower KL, so that numerator and
denominator are dependent. The truth comes from ten million prompts of the same population.
"""

from __future__ import annotations

import json

import numpy as np

from potstill.stats import bootstrap

SEED = 20_260_101
METHODS: tuple[bootstrap.Method, ...] = ("percentile", "expanded", "bca")
TRIALS = 4_000
PROMPTS = (50, 200, 500)
RESAMPLES = 2_000
# Trials that share one set of resampling weights: independent data, so coverage is unbiased.
BLOCK = 100


def population(rng: np.random.Generator, size: tuple[int, ...]) -> np.ndarray:
    """Return columns [..., 4]: KL of student, tokens, KL of baseline, tokens; sums a prompt."""
    tokens = np.minimum(np.ceil(rng.lognormal(3.9, 0.8, size)), 96)
    shared = rng.lognormal(0.0, 0.6, size) * (tokens / 50) ** -0.3
    student = rng.gamma(0.5 * tokens, 0.56 * shared * rng.lognormal(0.0, 0.35, size))
    baseline = rng.gamma(0.5 * tokens, 1.3 * shared * rng.lognormal(0.0, 0.35, size))
    return np.stack([student, tokens, baseline, tokens], axis=-1)


STATISTICS = {
    "ratio": lambda s: s[..., 0] / s[..., 1],
    "perplexity": lambda s: np.exp(s[..., 0] / s[..., 1]),
    "difference": lambda s: s[..., 0] / s[..., 1] - s[..., 2] / s[..., 3],
    "quotient": lambda s: (s[..., 0] / s[..., 1]) / (s[..., 2] / s[..., 3]),
}


def truths(rng: np.random.Generator) -> dict[str, float]:
    """Return each statistic of the population itself."""
    total = sum(population(rng, (1_000_000,)).sum(axis=0) for _ in range(10))
    return {name: float(statistic(total)) for name, statistic in STATISTICS.items()}


def coverage(prompts: int, *, trials: int = TRIALS, resamples: int = RESAMPLES) -> list[dict]:
    """Return one record for each statistic and method: share of misses on each side, width."""
    rng = np.random.default_rng([SEED, prompts])
    truth = truths(np.random.default_rng(SEED))
    found = {(s, m): np.zeros(3) for s in STATISTICS for m in METHODS}
    for first in range(0, trials, BLOCK):
        data_PTK = population(rng, (prompts, BLOCK))
        sums_BTK = bootstrap.resampled_sums(
            data_PTK.reshape(prompts, -1), resamples=resamples, seed=SEED + first
        ).reshape(resamples, BLOCK, 4)
        for t in range(BLOCK):
            for (name, method), counts in found.items():
                interval = bootstrap.interval_from_sums(
                    STATISTICS[name], data_PTK[:, t], sums_BTK[:, t], method=method
                )
                assert interval.ends is not None  # drawn figures differ
                low, high = interval.ends
                wrong_low, wrong_high = low > truth[name], high < truth[name]
                width = (high - low) / abs(truth[name])
                counts += [wrong_low, wrong_high, width]
    return [
        {
            "prompts": prompts,
            "statistic": name,
            "method": method,
            "coverage": round(1 - float(counts[0] + counts[1]) / trials, 4),
            "truth_below": round(float(counts[0]) / trials, 4),
            "truth_above": round(float(counts[1]) / trials, 4),
            "relative_width": round(float(counts[2]) / trials, 4),
        }
        for (name, method), counts in found.items()
    ]


def main() -> None:
    records = [record for prompts in PROMPTS for record in coverage(prompts)]
    head = {"seed": SEED, "trials": TRIALS, "resamples": RESAMPLES, "nominal": bootstrap.LEVEL}
    lines = ",\n  ".join(json.dumps(record) for record in records)
    print(json.dumps(head)[:-1] + ',\n "records": [\n  ' + lines + "\n ]}")


if __name__ == "__main__":
    main()
