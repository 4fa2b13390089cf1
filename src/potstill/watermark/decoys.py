"""The same texts under keys that nobody marked with: their p-values have to look uniform."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import kstest

from potstill.watermark.coins import coin_of
from potstill.watermark.prf import Columns
from potstill.watermark.schemes import Scheme

# As many as a check has at the least.
DECOYS = 1_000
# Rows that a decoy scores: a thousand keys over a whole corpus would take a thousand times as long.
_ROWS = 20_000


@dataclass(frozen=True)
class DecoyCheck:
    """How the randomised p-values of decoy keys are spread, over `scored` of the distinct rows.

    `ks_p` is the chance that uniform ones lie as far from uniform (Kolmogorov and Smirnov).
    """

    keys: int
    scored: int
    ks_p: float
    share_at_05: float
    share_at_01: float
    least_p: float


def check_decoys(scheme: Scheme, inputs: Columns, keys: int = DECOYS) -> DecoyCheck:
    """Return how the first `keys` decoys of a scheme find the given distinct rows.

    It checks that the rows are distinct and the scheme's numbers independent; it says nothing
    of texts that depend on the true key. Raises ValueError for fewer than 1,000 keys.
    """
    if keys < DECOYS:
        raise ValueError(f"a check takes at least {DECOYS:,} decoys")
    some = _spread_out(inputs)
    decoys = [scheme.decoy(number) for number in range(keys)]
    totals_D = np.array([float(decoy.scores(some).sum()) for decoy in decoys])
    coins_D = np.array([coin_of(decoy.key_id, "decoy") for decoy in decoys])
    scored = len(some[0])
    p_D = scheme.law.randomised_p(totals_D, np.full(keys, scored), coins_D)
    return DecoyCheck(
        keys=keys,
        scored=scored,
        ks_p=float(kstest(p_D, "uniform").pvalue),
        share_at_05=float(np.mean(p_D <= 0.05)),
        share_at_01=float(np.mean(p_D <= 0.01)),
        least_p=float(p_D.min()),
    )


def _spread_out(inputs: Columns) -> Columns:
    """Return at most `_ROWS` rows, evenly taken."""
    step = -(-len(inputs[0]) // _ROWS) or 1
    return tuple(np.ascontiguousarray(column[::step]) for column in inputs)
