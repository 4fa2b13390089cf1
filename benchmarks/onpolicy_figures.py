"""What the rows of `benchmarks/onpolicy_students.py` claim."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Row = dict[str, Any]
Floats = NDArray[np.float64]
RESAMPLES = 4000


def claims_of(rows: Sequence[Row]) -> dict[str, Row]:
    """Return the claims, those whose arms were measured."""
    claims: dict[str, Row] = {}
    on, off = paired(rows, "on", "off")
    if on:
        claims |= _ratio("reverse_kl_vs_off_policy", on, off, "own")
        claims |= _ratio("teacher_text_vs_off_policy", on, off, "text")
        tokens = sum(r["response_tokens"] for r in on) / sum(r["response_tokens"] for r in off)
        claims["student_tokens_vs_off_policy"] = _claim(tokens, "ratio", len(on))
        seconds = sum(r["seconds"] for r in on) / sum(r["seconds"] for r in off)
        claims["seconds_vs_off_policy"] = _claim(seconds, "ratio", len(on))
        # Curves begin with the untrained student; without it nobody knows what lies before.
        begun = any(row["arm"] == "untrained" for row in rows)
        crossed = crossing(curve(on, rows), curve(off, rows)) if begun else None
        if crossed is not None:
            claims["crossing_minutes"] = _claim(crossed / 60, "minutes", len(on))
    for arm, steps in (("on", 4), ("refresh16", 16)):
        mine, one = paired(rows, arm, "refresh1")
        if mine:
            claims |= _ratio(f"refresh_{steps}_vs_1", mine, one, "own")
    return claims


def _claim(value: float, unit: str, runs: int) -> Row:
    return {"value": value, "unit": unit, "runs": runs}


def _ratio(name: str, mine: Sequence[Row], theirs: Sequence[Row], text: str) -> dict[str, Row]:
    value, low, high = ratio(*(sums(side, text) for side in (mine, theirs)))
    return {
        name: _claim(value, "ratio", len(mine)),
        f"{name}_low": _claim(low, "ratio", len(mine)),
        f"{name}_high": _claim(high, "ratio", len(mine)),
    }


def paired(rows: Sequence[Row], one: str, other: str) -> tuple[list[Row], list[Row]]:
    """Return the rows of two arms at the seeds that both have, in the seeds' order."""
    by = {(row["arm"], row["seed"]): row for row in rows}
    seeds = sorted({s for a, s in by if a == one} & {s for a, s in by if a == other})
    return [by[one, seed] for seed in seeds], [by[other, seed] for seed in seeds]


def sums(rows: Sequence[Row], text: str) -> Floats:
    """Return (divergence, tokens) by seed and prompt, sums_SP2."""
    columns = [f"prompts_{text}_kl", f"prompts_{text}_tokens"]
    read = [[np.array(row[c].split(), dtype=float) for c in columns] for row in rows]
    return np.array(read).transpose(0, 2, 1)


def ratio(one_SP2: Floats, other_SP2: Floats, *, seed: int = 0) -> tuple[float, float, float]:
    """Return the ratio of two divergences a token, with the ends of its 95% interval.

    Resampled are the prompts and the seeds, the same ones of both: each prompt and each seed is met
    by either side. With a single seed the interval is over prompts alone.
    """
    generator = np.random.default_rng(seed)
    seeds, prompts, _ = one_SP2.shape
    weight_BS = generator.multinomial(seeds, [1 / seeds] * seeds, size=RESAMPLES)
    weight_BP = generator.multinomial(prompts, [1 / prompts] * prompts, size=RESAMPLES)
    drawn = [
        np.einsum("bs,spk,bp->bk", weight_BS, side, weight_BP, optimize=True)
        for side in (one_SP2, other_SP2)
    ]
    ratios = _a_token(drawn[0]) / _a_token(drawn[1])
    low, high = np.quantile(ratios, [0.025, 0.975])
    whole = [_a_token(side.sum((0, 1))) for side in (one_SP2, other_SP2)]
    return float(whole[0] / whole[1]), float(low), float(high)


def _a_token(sums: Floats) -> Any:
    return sums[..., 0] / sums[..., 1]


def curve(arm: Sequence[Row], rows: Sequence[Row]) -> tuple[Floats, Floats]:
    """Return (seconds, divergence on own text) of an arm, means over its seeds.

    It begins with the untrained student, where that was measured.
    """
    points = [
        [
            *([(0.0, r["own_kl_at_points"]) for r in rows if r["arm"] == "untrained"]),
            *((p["seconds"], p["own_kl"]) for p in row["curve"]),
            (row["seconds"], row["own_kl_at_points"]),
        ]
        for row in arm
    ]
    mean_K2 = np.array(points).mean(0)
    return mean_K2[:, 0], mean_K2[:, 1]


def crossing(on: tuple[Floats, Floats], off: tuple[Floats, Floats]) -> float | None:
    """Return the second from when on the first curve stays below the second one.

    None where it ends above it. Between points both are straight; behind its last point the second
    stays as it is.
    """
    at = np.linspace(0, on[0][-1], 2001)
    below = np.interp(at, *on) < np.interp(at, *off)
    if not below[-1]:
        return None
    above = np.flatnonzero(~below)
    return float(at[above[-1]]) if len(above) else 0.0


def coverage(rows: Sequence[Row], *, trials: int = 400, seed: int = 1) -> dict[str, float]:
    """Return how often intervals like these hold the truth, and how often their upper ends do.

    Worlds are made of what was measured: prompts drawn from the measured ones with their means over
    seeds, cells' residuals drawn from theirs, and the ratio of each seed shifted by a normal number
    as wide as the seeds' measured ratios lie apart. The truth is the measured ratio.
    """
    on, off = paired(rows, "on", "off")
    sides = [sums(side, "own") for side in (on, off)]
    seeds, prompts, _ = sides[0].shape
    pairs = zip(*sides, strict=True)
    ratios_S = [_a_token(one.sum(0)) / _a_token(other.sum(0)) for one, other in pairs]
    wide = float(np.std(np.log(ratios_S), ddof=1))
    means = [side.mean(0) for side in sides]
    left = [side - mean for side, mean in zip(sides, means, strict=True)]
    truth = _a_token(means[0].sum(0)) / _a_token(means[1].sum(0))
    generator = np.random.default_rng(seed)
    inside = below = 0
    for _ in range(trials):
        drawn_P = generator.integers(prompts, size=prompts)
        shifts_S = np.exp(wide * generator.standard_normal(seeds))
        made = []
        for mean, rest in zip(means, left, strict=True):
            cells_SP = generator.integers(prompts, size=(seeds, prompts))
            which_SP = generator.integers(seeds, size=(seeds, prompts))
            made.append(np.maximum(mean[drawn_P] + rest[which_SP, cells_SP], [0.0, 1.0]))
        made[0][..., 0] *= shifts_S[:, None]
        _, low, high = ratio(*made, seed=int(generator.integers(2**31)))
        inside += low <= truth <= high
        below += truth <= high
    return {"interval": inside / trials, "upper_end": below / trials, "seeds_apart": wide}
