"""What each form of targets takes, how exact it is, and what a student learns from it.

SmolLM2 answers prompts, and its targets are kept in every form. A student of it (six of thirty
blocks dropped, nothing healed) is trained on each form in turn, with the same steps, and measured
on held-out text; beside them the teacher read anew at every step, and the text alone. Bytes are
those of the exchange store on the disk; for a vocabulary of 151,936 the same targets are kept with
SmolLM2's 49,152 ids spread over it. Writes benchmarks/results/targets.json.

    python benchmarks/targets.py [--quick] [--run runs/bench-targets]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
from common import write_results
from hidden_codes import code_rows
from peers.potstill_train import OnlineTargets
from torch import Tensor

from potstill.cli.common import progress_for
from potstill.evaluate.fidelity import compare
from potstill.evaluate.summary import summarise
from potstill.exchanges.codecs import encode
from potstill.exchanges.forming import formed
from potstill.exchanges.specs import HIDDEN_FP16, HIDDEN_INT8, TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import Draws, ExchangeTargets, LikeliestTokens
from potstill.models.load import head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.progress import Silent
from potstill.recipe import CollectConfig, TrainConfig
from potstill.recipe.io import packaged_recipe
from potstill.runs import distill as pipeline
from potstill.runs.parts import Parts
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned
from potstill.train.examples import TrainingExample
from potstill.train.loop import train
from potstill.train.target_sources import Scorer, StoredTargets, TargetSource
from potstill.work.rundir import RunDir
from potstill.work.step_plan import PublicOrder

DROPPED = (11, 13, 14, 17, 21, 25)
SAMPLED = TargetSpec("sampled", CollectConfig().draws)
WIDE = 151_936
# Positions that codes are measured on, and those that a transform is fitted to.
MEASURED, FITTED = 2000, 8000
SETTINGS = {
    "name": "bench-targets",
    "prompts.limit": 240,
    "prompts.held_out_count": 80,
    "prompts.validation_count": 4,
    "collect.max_tokens": 96,
    "evaluate.max_tokens": 96,
    "evaluate.greedy": "false",
    "shrink.vocabulary": "null",
}
QUICK = {"prompts.limit": 24, "prompts.held_out_count": 8, "collect.max_tokens": 24}
TRAIN = TrainConfig(
    learning_rate=1e-4, batch_tokens=1600, micro_batch_tokens=1600, checkpoint_every=10**6
)
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="small, and nothing is written")
    parser.add_argument("--run", type=Path, default=Path("runs/bench-targets"))
    arguments = parser.parse_args()
    settings = SETTINGS | (QUICK if arguments.quick else {})
    recipe = packaged_recipe("demo", [f"{key}={value}" for key, value in settings.items()])
    pipeline.distill(recipe, arguments.run, until="collect", progress=progress_for(False))
    with RunDir.open(arguments.run, recipe) as run:
        parts = Parts(run, recipe, progress_for(False))
        rows, claims = measured(parts)
        dtype = parts.opened.teacher.compute_dtype
        parts.store.close()
    for name, claim in claims.items():
        print(f"{name}: {claim['value']:.4g} {claim['unit']}")
    if not arguments.quick:
        print(write_results("targets", claims, rows, dtype))


def measured(parts: Parts) -> tuple[list[Row], dict[str, Row]]:
    """Return all rows, and the claims."""
    top_k = equal_bytes(parts)
    specs = [HIDDEN_FP16, HIDDEN_INT8, SAMPLED, top_k]
    kept_too(parts, specs[1:])
    rows = [*bytes_rows(parts, specs), *code_rows(*fp32_states(parts))]
    trained = trained_rows(parts, specs)
    rows += trained
    by_form = {row["form"]: row for row in rows if "form" in row and "bytes_v151936" in row}
    codes = {row["code"]: row for row in rows if "code" in row}
    kl = {row["trained_on"]: row["kl_per_token"]["value"] for row in trained}
    rate = {row["trained_on"]: median(row["tokens_per_s"]) for row in trained}
    dense = kl["dense online"]

    def claim(value: float, unit: str) -> Row:
        return {"value": value, "unit": unit, "runs": 1}

    claims = {
        "bytes_per_position_v151936": claim(by_form[SAMPLED.name]["bytes_v151936"], "bytes"),
        "hidden_int8_kl_to_fp32": claim(codes["hidden-int8"]["kl"], "nats a token"),
        "hidden_fp16_kl_to_fp32": claim(codes["hidden-fp16"]["kl"], "nats a token"),
        "hidden_kl_vs_dense": claim(kl[HIDDEN_INT8.name] / dense, "ratio"),
        "hidden_fp16_kl_vs_dense": claim(kl[HIDDEN_FP16.name] / dense, "ratio"),
        "kl_vs_dense": claim(kl[SAMPLED.name] / dense, "ratio"),
        "top_k_kl_vs_dense": claim(kl[top_k.name] / dense, "ratio"),
        "text_alone_kl_vs_dense": claim(kl["text alone"] / dense, "ratio"),
        "tokens_per_s_vs_cross_entropy": claim(rate[SAMPLED.name] / rate["text alone"], "ratio"),
    }
    return rows, claims


def equal_bytes(parts: Parts) -> TargetSpec:
    """Return the largest top-k that takes no more than the draws, on some exchanges."""
    some = parts.corpus.exchanges("train")[:20]
    states = [state for state in parts.corpus.hidden(some) if state is not None]

    def size(spec: TargetSpec) -> int:
        found = (
            encode(formed(row.exchange_id, "s", state, parts.opened.parent_head, spec))
            for row, state in zip(some, states, strict=True)
        )
        return sum(len(row.data) for row in found)

    limit = size(SAMPLED)
    count = 1
    while size(TargetSpec("top-k", count + 1)) <= limit:
        count += 1
    return TargetSpec("top-k", count)


def kept_too(parts: Parts, specs: Sequence[TargetSpec]) -> None:
    """Store the training text's targets in more forms, from the states that decoding gave."""
    exchanges = parts.corpus.exchanges("train")
    for spec in specs:
        missing = [
            row
            for row in exchanges
            if row.exchange_id not in parts.store.target_ids(parts.author_identity, spec)
        ]
        for row, state in zip(missing, parts.corpus.hidden(missing), strict=True):
            assert state is not None
            key, scorer = row.exchange_id, parts.author_identity
            parts.store.append_targets([formed(key, scorer, state, parts.opened.parent_head, spec)])
    parts.store.save_head(parts.author_identity, parts.opened.parent_head)
    parts.store.compact()


def bytes_rows(parts: Parts, specs: Sequence[TargetSpec]) -> list[Row]:
    """Return the bytes a position of each form: SmolLM2's own, and at V = 151,936."""
    own = {usage.spec: usage for usage in parts.store.usage()}
    rows = parts.corpus.exchanges("train")
    ids_V = spread_ids(parts.opened.parent_head.tokens or len(parts.opened.parent_head.weight_VD))
    with tempfile.TemporaryDirectory() as folder:
        wide = ExchangeStore(Path(folder))
        wide.append(rows)
        for spec in specs:
            found = parts.store.targets(
                parts.author_identity, spec, [row.exchange_id for row in rows]
            )
            wide.append_targets(
                [
                    ExchangeTargets(row.exchange_id, parts.author_identity, spec, widened(v, ids_V))
                    for row, v in zip(rows, found, strict=True)
                ]
            )
        wide.compact()
        spread = {usage.spec: usage for usage in wide.usage()}
        wide.close()
    return [
        {
            "form": spec.name,
            "positions": spread[spec.name].positions,
            "bytes": own[spec.name].stored_bytes_per_position,
            "data_bytes": own[spec.name].data_bytes_per_position,
            "bytes_v151936": spread[spec.name].stored_bytes_per_position,
            "data_bytes_v151936": spread[spec.name].data_bytes_per_position,
        }
        for spec in specs
    ]


def spread_ids(tokens: int) -> Tensor:
    """Return ids_V: where each of the teacher's ids lies among 151,936, in the same order."""
    generator = torch.Generator().manual_seed(0)
    return torch.randperm(WIDE, generator=generator)[:tokens].sort().values


def widened(values: Any, ids_V: Tensor) -> Any:
    """Return targets as a teacher of 151,936 tokens would have given them."""
    if isinstance(values, Draws):
        ids_RU = torch.where(values.count_RU > 0, ids_V[values.ids_RU], 0)
        return replace(values, ids_RU=ids_RU, width=WIDE)
    if isinstance(values, LikeliestTokens):
        return replace(values, ids_RK=ids_V[values.ids_RK], width=WIDE)
    return values


def fp32_states(parts: Parts) -> tuple[Tensor, Tensor, Any]:
    """Return the fp32 teacher's states on training and on held-out text, and its head."""
    teacher = load(parts.recipe.teacher.model, device=parts.recipe.device, precision="fp32")
    found = []
    for split, most in (("train", FITTED), ("held_out", MEASURED)):
        rows, held = [], 0
        for row in parts.corpus.exchanges(split):
            if held >= most:
                break
            rows.append(row.ids)
            held += len(row.ids[1])
        found.append(torch.cat(response_hidden(teacher, rows)))
    return found[0], found[1], head_of(teacher)


def trained_rows(parts: Parts, specs: Sequence[TargetSpec]) -> list[Row]:
    """Train one student on each form, and measure it."""
    student, _ = pruned(parts.opened.teacher, Cut(DROPPED, None))
    examples = [
        TrainingExample(row.exchange_id, *row.ids) for row in parts.corpus.exchanges("train")
    ]
    measure = HeldOut(parts)
    rows = [{"trained_on": "nothing", "tokens_per_s": [0.0], **measure(student)}]
    scorer = Scorer(parts.author_identity, parts.opened.parent_head)
    sources: dict[str, TargetSource | None] = {"dense online": OnlineTargets(parts.opened.teacher)}
    for spec in specs:
        keys = parts.store.target_ids(parts.author_identity, spec)
        dtype = parts.opened.teacher.compute_dtype
        sources[spec.name] = StoredTargets(parts.store, spec, keys, scorer, dtype)
    sources["text alone"] = None
    start = {name: p.detach().clone() for name, p in student.network.state_dict().items()}
    for name, source in sources.items():
        student.network.load_state_dict(start)
        rates: list[float] = []
        with tempfile.TemporaryDirectory() as folder:
            train(
                student,
                examples,
                config=TRAIN if source else TRAIN.model_copy(update={"cross_entropy": 1.0}),
                seed=0,
                order=PublicOrder(0),
                targets=source,
                checkpoints=Path(folder),
                validate=None,
                log=lambda entry, rates=rates: rates.append(entry["tokens_per_s"]),  # type: ignore[misc]
                progress=Silent(),
            )
        # The first step sets up what the others use again.
        rows.append({"trained_on": name, "tokens_per_s": rates[1:] or rates, **measure(student)})
        print(json.dumps({k: v for k, v in rows[-1].items() if k != "tokens_per_s"}), flush=True)
    return rows


class HeldOut:
    """Measures a student on held-out text against the teacher's stored fp16 states."""

    def __init__(self, parts: Parts) -> None:
        self.parts, self.rows = parts, parts.corpus.exchanges("held_out", greedy=False)
        self.states = [state for state in parts.corpus.hidden(self.rows) if state is not None]

    def __call__(self, student: LoadedModel) -> Row:
        """Return KL a token and agreement, with intervals over prompts."""
        sums = compare(
            self.states,
            self.parts.opened.parent_head,
            response_hidden(student, [row.ids for row in self.rows], batch_tokens=4096),
            head_of(student),
            [row.ids[1] for row in self.rows],
            None,
        )
        found = summarise(sums, resamples=2000, seed=0)
        return {name: interval.as_dict() for name, interval in found.items()}


if __name__ == "__main__":
    main()
