"""What matching hidden states adds to the divergence, with the same steps.

SmolLM2 answers prompts; its student lacks every third block of thirty, healed as by default. It is
trained on the same answers with forward KL alone and with hidden states matched beside it: those
behind the last norm, which are stored, and those of every block, for which the teacher reads each
text. The weight of each is chosen by KL on validation prompts at one seed, and what is said is
measured on held-out prompts at three others. Every training is kept as it ends, so that the script
goes on where it was stopped. Writes benchmarks/results/hidden_matching.json.

    python benchmarks/hidden_matching.py [--quick] [--run runs/bench-hidden-matching] [--minutes M]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from common import write_results
from numpy.typing import NDArray

from potstill.cli.common import progress_for
from potstill.durable import write_bytes
from potstill.evaluate.fidelity import compare
from potstill.exchanges.exchange import Split
from potstill.exchanges.specs import HIDDEN_FP16
from potstill.models.load import head_of
from potstill.models.score import response_hidden
from potstill.progress import Silent
from potstill.recipe import HiddenMatchingConfig, TrainConfig
from potstill.recipe.io import packaged_recipe
from potstill.runs import distill as pipeline
from potstill.runs.parts import Parts
from potstill.train.examples import TrainingExample
from potstill.train.hidden_matching import matching_of
from potstill.train.loop import train
from potstill.train.target_sources import Scorer, StoredTargets
from potstill.train.teacher_blocks import TeacherBlocks
from potstill.work.rundir import RunDir
from potstill.work.step_plan import PublicOrder

DROPPED = (2, 5, 8, 11, 14, 17, 20, 23, 26)
SETTINGS = {
    "name": "bench-hidden-matching",
    "prompts.limit": 400,
    "prompts.held_out_count": 80,
    "prompts.validation_count": 24,
    "collect.max_tokens": 96,
    "evaluate.max_tokens": 96,
    "evaluate.greedy": "false",
    "shrink.vocabulary": "null",
    "shrink.blocks": f"{list(DROPPED)}",
    "shrink.calibration_tokens": 12000,
}
QUICK = {"prompts.limit": 40, "prompts.held_out_count": 8, "collect.max_tokens": 24}
TRAIN = TrainConfig(
    learning_rate=1e-4,
    batch_tokens=1000,
    micro_batch_tokens=1600,
    steps=30,
    checkpoint_every=10**6,
)
WEIGHTS = (0.1, 1.0, 10.0)
CHOOSING, MEASURED = 0, (1, 2, 3)
LAYERS = ("last", "blocks")
RESAMPLES = 4000
Row = dict[str, Any]
Floats = NDArray[np.float64]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small, and nothing is written")
    parser.add_argument("--run", type=Path, default=Path("runs/bench-hidden-matching"))
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no training after these")
    arguments = parser.parse_args()
    ends = time.monotonic() + 60 * arguments.minutes
    settings = SETTINGS | (QUICK if arguments.quick else {})
    recipe = packaged_recipe("demo", [f"{key}={value}" for key, value in settings.items()])
    pipeline.distill(recipe, arguments.run, until="shrink", progress=progress_for(False))
    with RunDir.open(arguments.run, recipe) as run:
        parts = Parts(run, recipe, progress_for(False))
        rows = trained(Trials(parts), arguments.run / "trials.json", ends)
        dtype = parts.opened.teacher.compute_dtype
        parts.store.close()
    if rows is None:
        print("stopped by the clock; the same call goes on")
        return
    claims = claims_of(rows)
    for name, claim in claims.items():
        print(f"{name}: {claim['value']:.4g} {claim['unit']}")
    if not arguments.quick:
        print(write_results("hidden_matching", claims, rows, dtype))


class Trials:
    """Trains a run's student in one way after another, and measures what comes out."""

    def __init__(self, parts: Parts) -> None:
        self.parts, self.teacher = parts, parts.opened.teacher
        self.head = head_of(self.teacher)
        rows = parts.corpus.exchanges("train")
        self.examples = [TrainingExample(row.exchange_id, *row.ids) for row in rows]
        keys = parts.store.target_ids(parts.author_identity, HIDDEN_FP16)
        scorer = Scorer(parts.author_identity, self.head)
        dtype = self.teacher.compute_dtype
        self.targets = StoredTargets(parts.store, HIDDEN_FP16, keys, scorer, dtype)
        self.student = parts.opened.student(parts.untrained, trainable=True)
        self.start = {n: p.detach().clone() for n, p in self.student.network.state_dict().items()}

    def row(self, layers: str | None, weight: float | None, seed: int) -> Row:
        """Return how one training ended."""
        self.student.network.load_state_dict(self.start)
        config = TRAIN
        if layers is not None:
            chosen = HiddenMatchingConfig.model_validate({"layers": layers, "weight": weight})
            config = TRAIN.model_copy(update={"hidden_matching": chosen})
        reader = TeacherBlocks(self.teacher)
        width = self.head.weight_VD.shape[1]
        logged: list[Row] = []
        with tempfile.TemporaryDirectory() as folder:
            train(
                self.student,
                self.examples,
                config=config,
                seed=seed,
                order=PublicOrder(seed),
                targets=self.targets,
                checkpoints=Path(folder),
                validate=None,
                log=logged.append,
                progress=Silent(),
                matching=matching_of(self.student, config, width, DROPPED, reader),
            )
        near = [entry["hidden_loss"] for entry in logged if "hidden_loss" in entry]
        return {
            "layers": layers,
            "weight": weight,
            "seed": seed,
            "steps": len(logged),
            "hidden_first": near[0] if near else None,
            "hidden_last": near[-1] if near else None,
            "tokens_per_s": median(entry["tokens_per_s"] for entry in logged[1:]),
            **self.measured(("validation",) if seed == CHOOSING else ("validation", "held_out")),
        }

    def measured(self, splits: Sequence[Split] = ("validation", "held_out")) -> Row:
        """Return the student's KL on validation prompts, and by prompt on held-out ones."""
        found: Row = {}
        for split in splits:
            rows = self.parts.corpus.exchanges(split)
            states = [state for state in self.parts.corpus.hidden(rows) if state is not None]
            mine = response_hidden(self.student, [row.ids for row in rows])
            texts = [row.ids[1] for row in rows]
            sums = compare(states, self.head, mine, head_of(self.student), texts)
            found[f"{split}_kl"] = float(sums.kl.sum() / sums.tokens.sum())
            if split == "held_out":
                found["kl"] = [float(value) for value in sums.kl]
                found["agreement"] = float(sums.agree.sum() / sums.tokens.sum())
                found["tokens"] = [int(value) for value in sums.tokens]
        return found


def trained(trials: Trials, kept: Path, ends: float) -> list[Row] | None:
    """Return a row a training, from earlier calls where they are kept; None after `ends`."""
    rows: list[Row] = json.loads(kept.read_text(encoding="utf-8")) if kept.is_file() else []
    if not rows:
        rows = [{"layers": "untrained", **trials.measured()}]

    def done(layers: str | None, weight: float | None, seed: int) -> Row | None:
        asked = (layers, weight, seed)
        known = [r for r in rows if (r["layers"], r.get("weight"), r.get("seed")) == asked]
        if not known:
            if time.monotonic() > ends:
                return None
            known = [trials.row(*asked)]
            rows.append(known[0])
            write_bytes(kept, json.dumps(rows).encode())
            shown = {k: v for k, v in known[0].items() if k not in ("kl", "tokens")}
            print(json.dumps(shown), flush=True)
        return known[0]

    wanted = [(layers, weight, CHOOSING) for layers in LAYERS for weight in WEIGHTS]
    if any(done(*one) is None for one in wanted):
        return None
    chosen = [(layers, best_weight(rows, layers)) for layers in LAYERS]
    asked = [(*way, seed) for seed in MEASURED for way in [(None, None), *chosen]]
    return None if any(done(*one) is None for one in asked) else rows


def best_weight(rows: Sequence[Row], layers: str) -> float:
    """Return the weight that is best on validation prompts, at the seed that chooses."""
    tried = [row for row in rows if row["layers"] == layers and row["seed"] == CHOOSING]
    return float(min(tried, key=lambda row: row["validation_kl"])["weight"])


def claims_of(rows: Sequence[Row]) -> dict[str, Row]:
    """Return the KL on held-out text over that without matching."""
    plain = [row for row in rows if row["layers"] is None and row["seed"] in MEASURED]
    claims = {}
    for layers in LAYERS:
        weight = best_weight(rows, layers)
        with_it = [
            row
            for row in rows
            if (row["layers"], row.get("weight")) == (layers, weight) and row["seed"] in MEASURED
        ]
        value, low, high = kl_ratio(with_it, plain)
        figures = {
            "weight": (weight, "weight"),
            "kl_ratio": (value, "ratio"),
            "kl_ratio_low": (low, "ratio"),
            "kl_ratio_high": (high, "ratio"),
        }
        for name, (figure, unit) in figures.items():
            claims[f"{layers}_{name}"] = {"value": figure, "unit": unit, "runs": len(with_it)}
    return claims


def kl_ratio(mine: Sequence[Row], theirs: Sequence[Row]) -> tuple[float, float, float]:
    """Return the ratio of KL a token, with the ends of its 95% interval.

    Resampled are the prompts and the seeds, the same ones of both: each prompt and each seed is met
    by either side.
    """
    one_SP, other_SP = (np.array([row["kl"] for row in side]) for side in (mine, theirs))
    generator = np.random.default_rng(0)
    seeds, prompts = one_SP.shape
    drawn = []
    for _ in range(RESAMPLES):
        s = generator.integers(seeds, size=seeds)
        p = generator.integers(prompts, size=prompts)
        drawn.append(one_SP[np.ix_(s, p)].sum() / other_SP[np.ix_(s, p)].sum())
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(one_SP.sum() / other_SP.sum()), float(low), float(high)


if __name__ == "__main__":
    main()
