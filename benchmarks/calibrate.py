"""Are a watermark's p-values what they say? 20,000 null trials a row, no model.

    python benchmarks/calibrate.py

Writes benchmarks/results/calibration.json: every scheme on every kind of text under fresh keys,
and many documents that share boilerplate under one fixed key. There the way of others (repeats
dropped within each document alone, normal tails) is tried beside potstill's. The seed was fixed
before the first run.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from blake3 import blake3
from common import write_results
from scipy.special import ndtr

from potstill.watermark.calibration import (
    CONFIDENCE,
    Calibration,
    calibrate,
    null_trials,
    rate_at,
)
from potstill.watermark.keys import EpochKey
from potstill.watermark.null_texts import BoilerplateText, kinds_of
from potstill.watermark.schemes import GreenList, Gumbel, Scheme
from potstill.watermark.token_texts import TokenTexts

SEED = 20_261_130
TRIALS = 20_000
VOCABULARY = 49_152
LEVEL = 1e-3
KEY = EpochKey("calibration", blake3(b"a fixed key of benchmarks/calibrate.py").digest(length=32))
SCHEMES: tuple[Scheme, ...] = (
    GreenList(KEY, 1, 0.5, 2.0),
    GreenList(KEY, 2, 0.25, 2.0),
    GreenList(KEY, 4, 0.5, 2.0),
    Gumbel(KEY, 1),
    Gumbel(KEY, 2),
    Gumbel(KEY, 4),
)
ONE_KEY: tuple[Scheme, ...] = (GreenList(KEY, 4, 0.5, 2.0), Gumbel(KEY, 4))


def per_document_p(scheme: Scheme, texts: TokenTexts) -> float:
    """Return the p of a detector that drops repeats within each document and trusts a normal."""
    rows = texts.rows(scheme.window)
    inside = rows.inside_N
    owner = texts.text_of_rows(scheme.window)[: len(inside)][inside]
    columns = [c[inside] for c in scheme.inputs(rows.windows_KN, rows.tokens_N)]
    _, first = np.unique(np.stack([owner, *columns]), axis=1, return_index=True)
    scores = scheme.scores(tuple(column[first] for column in columns))
    n = len(scores)
    z = (scores.sum() - n * scheme.law.mean) / (scheme.law.spread * math.sqrt(n))
    return float(ndtr(-z))


def boilerplate(scheme: Scheme) -> dict[str, Any]:
    """Return both ways' rates on the same sets of documents, under one fixed key."""
    kind = BoilerplateText(VOCABULARY)
    ours = null_trials(scheme, kind, TRIALS, np.random.default_rng([SEED, 1]), one_key=True)
    rng = np.random.default_rng([SEED, 1])
    theirs = np.array([per_document_p(scheme, kind.draw(rng)) for _ in range(TRIALS)])
    confidence = 1 - (1 - CONFIDENCE) / (2 * len(ONE_KEY))
    return {
        "scheme": scheme.name,
        "parameters": scheme.parameters(),
        "text": "boilerplate, one fixed key",
        "trials": TRIALS,
        "mean_scored": ours.mean_scored,
        "at_1e-3": asdict(rate_at(LEVEL, ours, confidence)),
        "per_document_at_1e-3": float(np.mean(theirs <= LEVEL)),
    }


def claims(found: Calibration, shared: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the figures that the README and the methods page read."""
    ours = max(row["at_1e-3"]["exact"] for row in shared)
    theirs = max(row["per_document_at_1e-3"] for row in shared)
    values = {
        "ks_p_min": found.ks_p_min,
        "fpr_at_0.01": found.fpr_at_01,
        "fpr_boilerplate_at_1e-3": ours,
        "fpr_boilerplate_per_document_at_1e-3": theirs,
        "levels_inside": found.holds and all(row["at_1e-3"]["inside"] for row in shared),
    }
    return {name: {"value": v, "unit": "", "runs": TRIALS} for name, v in values.items()}


def main() -> None:
    shared = [boilerplate(scheme) for scheme in ONE_KEY]
    found = calibrate(SCHEMES, kinds_of(VOCABULARY), trials=TRIALS, seed=SEED)
    rows = [asdict(row) for row in found.rows] + shared
    results = claims(found, shared)
    write_results("calibration", results, [{"seed": SEED}, *rows], torch.float64)
    for name, claim in results.items():
        print(f"{name}: {claim['value']:.4g}")


if __name__ == "__main__":
    main()
