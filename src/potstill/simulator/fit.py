"""Clients drawn from the statistics that fit_servegen.py derived, and published failure rates."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]
# BurstGPT (Wang et al. 2024, arXiv 2401.17644): failed requests, by service.
FAILURES = (0.018, 0.073)
# ServeGen's tails, cut where a length would leave every model's window.
_LIMITS = {"log_cv": (-0.7, 1.6), "input_mu": (3.0, 9.0), "output_mu": (2.5, 7.5)}
_SIGMA = (0.05, 1.4)


@cache
def fitted() -> dict[str, Any]:
    """Return servegen_fit.json."""
    path = Path(__file__).with_name("servegen_fit.json")
    read: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return read


def hours() -> Floats:
    """Return the share of a day's requests in each hour, local time."""
    share: Floats = np.array(fitted()["hours"], dtype=np.float64)
    return np.asarray(share / share.sum())


def clients(rng: np.random.Generator, count: int, pool: str = "language") -> dict[str, Floats]:
    """Draw clients: log_rate (requests a second), log_cv, and log-normal lengths in tokens.

    Marginals are ServeGen's quantiles over clients, joined by a Gaussian copula.
    """
    fit = fitted()
    kept = fit["pools"][pool]
    correlation = np.array(kept["correlation"])
    normal_NF = rng.standard_normal((count, len(correlation))) @ np.linalg.cholesky(correlation).T
    drawn = {}
    for f, name in enumerate(fit["fields"]):
        values = np.interp(ndtr(normal_NF[:, f]), fit["probabilities"], kept["quantiles"][name])
        low, high = _SIGMA if name.endswith("sigma") else _LIMITS.get(name, (-np.inf, np.inf))
        drawn[name] = np.clip(values, low, high)
    return drawn
