"""Are the p-values of the ancestry tests what they say, and whom do they find?

    python benchmarks/trace_ancestry.py [--only order weights agreement power]

Null trials: fresh secrets against likelihoods that know none of them; independent networks, drawn
and trained for some steps on the same text; signs that are fair. Then the known relatives of one
nano teacher: copies that were tuned, cut or shuffled, and a student with weights of its own. Writes
benchmarks/results/trace_ancestry.json. The seed was fixed before the first run.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from common import RESULTS, write_results
from nano_networks import SEED, nano, taught, text_rows
from nano_relatives import with_channels, without_blocks
from scipy.stats import kstest
from trace_ancestry_order import order_power

from potstill.models.loaded import LoadedModel
from potstill.stats.exact import clopper_pearson, holm
from potstill.stats.permutations import SumLaw, ascents_law, fixed_points_law
from potstill.stats.signs import sign_flip_law, sign_flip_p
from potstill.trace.agreement import sums_by
from potstill.trace.gather.weights import gather_weights, plan_weights
from potstill.trace.order import OrderPlanned, as_far, order_positions, redrawn, spearman
from potstill.trace.weights import (
    WeightsItem,
    WeightsPlanned,
    best_alignment,
    score,
    weights_finding,
)
from potstill.work.order_secret import OrderSecret

TRIALS = 20_000
LEVELS = (0.05, 0.01, 0.001)
CONFIDENCE = 0.999
# Networks that are trained for the null of weights: 64 of them are 2,016 pairs.
NETWORKS = 64
STEPS = 25


# --- what a set of p-values comes to ------------------------------------------------------------


def null_row(
    name: str, p: Sequence[float], randomised: Sequence[float] | None, **more: Any
) -> dict[str, Any]:
    """Return how p-values are spread. Without randomised ones the test is conservative."""
    levels = []
    for level in LEVELS[: 3 if len(p) >= TRIALS else 2]:
        used = p if randomised is None else randomised
        hits = int(np.sum(np.asarray(used) <= level))
        low, high = clopper_pearson(hits, len(p), 1 - (1 - CONFIDENCE) / 30)
        holds = low <= level and (randomised is None or level <= high)
        levels.append(
            {
                "level": level,
                "rate": hits / len(p),
                "low": low,
                "high": high,
                "holds": bool(holds),
                "printed": float(np.mean(np.asarray(p) <= level)),
            }
        )
    ks = None if randomised is None else float(kstest(randomised, "uniform").pvalue)
    row = {"row": name, "trials": len(p), "exact": randomised is not None, "ks_p": ks}
    print(json.dumps({**row, "rates": [v["rate"] for v in levels]}), flush=True)
    return {**row, "levels": levels, **more}


# --- training order ------------------------------------------------------------------------------


def order_null(name: str, trials: int, seed: int, **plan: Any) -> dict[str, Any]:
    """Trials of likelihoods that depend on a row's length and on chance, not on the secret."""
    rng = np.random.default_rng([SEED, seed])
    p, randomised = [], []
    for trial in range(trials):
        lengths = rng.integers(4, 60, 40)
        secret = OrderSecret(rng.bytes(32))
        planned = OrderPlanned(
            secret=secret.digest,
            lengths=tuple(lengths.tolist()),
            batch_tokens=100,
            reference="none",
            **{"asked": tuple(range(40)), "epochs": 1.0, "redraws": 99, **plan},
        )
        rows = len(planned.asked)
        difference = -0.05 * lengths[list(planned.asked)] + rng.standard_normal(rows)
        true = spearman(difference, order_positions(planned, secret))
        drawn = redrawn(planned, difference, f"trial {seed} {trial}")
        reached, level = as_far(true, drawn), int(np.sum(drawn == true))
        paid = 1 if planned.quarters is None else planned.choices
        count = 1 + planned.redraws
        p.append(min(1.0, paid * (1 + reached) / count))
        randomised.append((reached - level + rng.random() * (1 + level)) / count)
    exact = "quarters" not in plan
    return null_row(f"order: {name}", p, randomised if exact else None)


def order_nulls() -> list[dict[str, Any]]:
    same_as = tuple(i - i % 4 if i % 4 == 1 else i for i in range(40))
    asked = tuple(sorted(set(same_as)))
    return [
        order_null("one epoch", TRIALS, 1),
        order_null(
            "an epoch and a half, equal rows merged",
            TRIALS,
            2,
            epochs=1.5,
            same_as=same_as,
            asked=asked,
        ),
        # Eight quarters are paid for: with 99 fresh secrets no p would reach 0.05.
        order_null(
            "two epochs, stopped after a quarter that is stated",
            TRIALS // 5,
            3,
            epochs=2.0,
            quarters=6,
            redraws=999,
        ),
    ]


# --- weights -------------------------------------------------------------------------------------


def items_between(
    planned: WeightsPlanned, one: LoadedModel, other: LoadedModel
) -> list[WeightsItem]:
    items: list[WeightsItem] = []
    gather_weights(planned, one, other, [], items.append)
    return items


def total_of(planned: WeightsPlanned, items: Sequence[WeightsItem]) -> int:
    scores = {(i.parent_block, i.suspect_block): score(planned, i) for i in items}
    return best_alignment(planned, scores)


class Tails:
    """p-values of sums, each computed once."""

    def __init__(self, planned: WeightsPlanned) -> None:
        rising = planned.parent_shape.ffn != planned.suspect_shape.ffn
        law = ascents_law(planned.matched) if rising else fixed_points_law(planned.matched)
        self.law = SumLaw(law, planned.aligned)
        self.paid = planned.alignments
        self.known: dict[int, float] = {}

    def p(self, total: int) -> float:
        if total not in self.known:
            self.known[total] = min(1.0, self.paid * math.exp(self.law.log_p(total)))
        return self.known[total]


def pairs_row(
    name: str,
    model: Callable[[int], LoadedModel],
    pairs: Iterable[tuple[int, int]],
    *,
    exact: bool = True,
    **plan: Any,
) -> list[dict[str, Any]]:
    """Return the rows of network pairs, and of the block pairs that they are made of."""
    rng = np.random.default_rng([SEED, 4])
    p, randomised, blocks = [], [], []
    planned, tails, single = None, None, SumLaw(fixed_points_law(2), 1)
    for a, b in pairs:
        one, other = model(a), model(b)
        if planned is None or tails is None:
            planned = plan_weights(one, other, **plan)
            tails = Tails(planned)
            single = SumLaw(fixed_points_law(planned.matched), 1)
        items = items_between(planned, one, other)
        total = total_of(planned, items)
        p.append(tails.p(total))
        randomised.append(tails.law.randomised_p(total, float(rng.random())))
        blocks += [single.randomised_p(score(planned, i), float(rng.random())) for i in items]
    unit = null_row(f"weights: {name}, pairs of networks", p, randomised if exact else None)
    if not exact:
        return [unit]
    return [unit, null_row(f"weights: {name}, pairs of blocks", blocks, blocks)]


def weights_nulls() -> list[dict[str, Any]]:
    drawn = ((2 * i, 2 * i + 1) for i in range(1700))
    rows = pairs_row("drawn anew", lambda i: nano(1000 + i), drawn)
    text = text_rows(STEPS * 12, 9)
    started = time.time()
    trained = [taught(nano(i), text, STEPS, 4e-3) for i in range(NETWORKS)]
    print(f"{NETWORKS} networks trained in {time.time() - started:.0f} s", flush=True)
    pairs = [(i, j) for i in range(NETWORKS) for j in range(i)]
    rows += pairs_row("trained on the same text", trained.__getitem__, pairs)
    cut = [without_blocks(model, (1, 3)) for model in trained]
    both = [*trained, *cut]
    rows += pairs_row(
        "trained, against four blocks of six",
        both.__getitem__,
        [(i, NETWORKS + j) for i, j in pairs],
        exact=False,
    )
    rows += pairs_row(
        "trained, shuffled comparison (not exact)",
        trained.__getitem__,
        pairs,
        exact=False,
        how="shuffled",
    )
    return rows


def relatives() -> list[dict[str, Any]]:
    """The known relatives of one teacher, and those who are none."""
    teacher, text = nano(), text_rows(1200, 5)
    rng = np.random.default_rng([SEED, 5])
    answers = text_rows(1200, 6)
    # The nano teacher was drawn under torch's seed 1, as nano_models says.
    torch.manual_seed(1)
    same_seed = replace(teacher, network=type(teacher.network)(teacher.network.config))
    half = sorted(rng.choice(160, 80, replace=False).tolist())
    suspects: dict[str, tuple[LoadedModel, bool, tuple[str, ...]]] = {
        "tuned, 100 steps": (taught(teacher, text, 100, 1e-3), True, ("in-place", "shuffled")),
        "tuned hard, 300 steps at 1e-2": (taught(teacher, text, 300, 1e-2), True, ("in-place",)),
        "blocks 1 and 3 left out, tuned": (
            taught(without_blocks(teacher, (1, 3)), text, 50, 1e-3),
            True,
            ("in-place",),
        ),
        "half of the channels kept": (with_channels(teacher, half), True, ("in-place",)),
        "units shuffled": (
            with_channels(teacher, rng.permutation(160).tolist()),
            True,
            ("in-place", "shuffled"),
        ),
        "drawn under the same public seed": (same_seed, True, ("in-place",)),
        "student from text, weights of its own": (
            taught(nano(77), answers, 300, 4e-3),
            False,
            ("in-place", "shuffled"),
        ),
    }
    rows = []
    for name, (suspect, related, hows) in suspects.items():
        for how in hows:
            planned = plan_weights(teacher, suspect, how=how)  # type: ignore[arg-type]
            found = weights_finding(planned, items_between(planned, teacher, suspect), "")
            rows.append(
                {
                    "row": f"weights: {name}",
                    "how": how,
                    "related": related,
                    "tier": found.tier,
                    "statistic": found.statistic,
                    "null_mean": found.null_mean,
                    "effect": found.effect,
                    "log10_p": found.log10_p,
                }
            )
            print(json.dumps(rows[-1]), flush=True)
    return rows


# --- agreement -----------------------------------------------------------------------------------


def agreement_nulls() -> list[dict[str, Any]]:
    rng = np.random.default_rng([SEED, 6])
    p, randomised = [], []
    for _ in range(TRIALS):
        sizes = rng.geometric(0.2, 40) * (rng.random(40) < 0.7)
        flips = (sizes * rng.choice([-1, 1], 40)).tolist()
        p.append(sign_flip_p(flips))
        law = sign_flip_law(flips)
        at = (sum(flips) + int(np.abs(flips).sum())) // 2
        randomised.append(float(law[at + 1 :].sum() + rng.random() * law[at]))
    rows = [null_row("agreement: fair signs", p, randomised)]
    # Equal means, but not symmetric: far on one side in one prompt of ten, a little on the other.
    for far in ("behind", "ahead"):
        sign = 1 if far == "ahead" else -1
        skewed = [
            sign_flip_p((sign * np.where(rng.random(40) < 0.1, 9, -1)).tolist())
            for _ in range(TRIALS)
        ]
        what = f"equal means, rarely far {far} (why it is support alone)"
        rows.append(null_row(f"agreement: {what}", skewed, None))
    return rows


def randomised_flip(differences: Sequence[int], rng: np.random.Generator) -> float:
    """Return the p-value of sums under sign flips with ties broken by a uniform."""
    law = sign_flip_law(differences)
    at = (sum(differences) + int(np.abs(differences).sum())) // 2
    return float(law[at + 1 :].sum() + rng.random() * law[at])


def loops_nulls() -> list[dict[str, Any]]:
    """Trials in which the teacher's answers run into few loops, which a model knows or does not."""
    rng = np.random.default_rng([SEED, 60])
    loops, each = 30, 4
    cluster_N = np.repeat(np.arange(loops), each)
    p, randomised, alone = [], [], []
    for _ in range(TRIALS):
        # Suspect and control know each loop by a fair coin, and then agree on all of its prompts.
        known_2N = rng.integers(0, 2, (2, loops))[:, cluster_N]
        length_2N = 16 * known_2N + rng.integers(0, 5, (2, loops * each))
        differences = length_2N[0] - length_2N[1]
        sums = sums_by(cluster_N, differences).tolist()
        p.append(sign_flip_p(sums))
        randomised.append(randomised_flip(sums, rng))
        alone.append(sign_flip_p(differences.tolist()))
    name = f"agreement: {loops} loops of {each} prompts"
    rows = [
        null_row(f"{name}, signs of loops", p, randomised),
        null_row(f"{name}, signs of prompts (not exact: why there are clusters)", alone, None),
    ]
    # A suspect that is one more of its controls' kind: each knows a share of its own of all loops.
    controls, nearest = 3, []
    for _ in range(TRIALS // 10):
        share_M = rng.beta(8, 8, controls + 1)
        known_ML = (rng.random((controls + 1, 200)) < share_M[:, None]).astype(int)
        against = [sign_flip_p((known_ML[0] - one).tolist()) for one in known_ML[1:]]
        nearest.append(max(against))
    what = f"one more model of its {controls} controls' kind, 200 loops"
    rows.append(null_row(f"agreement: {what} (why it is support alone)", nearest, None))
    return rows


PARTS: dict[str, tuple[Callable[[], list[dict[str, Any]]], ...]] = {
    "order": (order_nulls,),
    "weights": (weights_nulls, relatives),
    "agreement": (agreement_nulls, loops_nulls),
    "power": (order_power,),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--only", nargs="*", choices=list(PARTS), help="parts; all, if left out")
    asked = parser.parse_args().only or list(PARTS)
    made = {
        part: [{**row, "part": part} for make in PARTS[part] for row in make()] for part in asked
    }
    # Read after that, so that several parts may be made at once.
    path = RESULTS / "trace_ancestry.json"
    before = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    for part in PARTS:
        made.setdefault(part, [row for row in before if row["part"] == part])
    rows = [row for part in PARTS for row in made[part]]
    exact = [row for row in rows if row.get("ks_p") is not None]
    for row, adjusted in zip(exact, holm([r["ks_p"] for r in exact]), strict=True):
        row["adjusted_ks_p"] = adjusted
    levels = [
        v["holds"]
        for r in rows
        if "levels" in r and "not exact" not in r["row"] and "why it is support" not in r["row"]
        for v in r["levels"]
    ]
    claims = {
        "ks_p_min": {
            "value": min((r["adjusted_ks_p"] for r in exact), default=None),
            "unit": "Holm-adjusted p that randomised p-values are uniform",
            "runs": len(exact),
        },
        "levels_held": {
            "value": all(levels),
            "unit": "of all levels of all rows",
            "runs": len(levels),
        },
    }
    write_results("trace_ancestry", claims, rows, torch.float32)
    print(json.dumps(claims), flush=True)


if __name__ == "__main__":
    main()
