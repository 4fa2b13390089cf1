"""A run that learns from a server's likeliest tokens: what it stored, and its loss by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import loss_oracle
import torch

from potstill.exchanges.exchange import Exchange
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.targets import LikeliestTokens
from potstill.job import Job
from potstill.losses.divergence import Divergence
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.progress import Silent
from potstill.recipe import Recipe
from potstill.work.corpus import Text
from potstill.work.rundir import RunDir
from scoring_server import COUNT


def opened(values: Any, root: Path) -> tuple[Job, list[Exchange], dict[str, LikeliestTokens]]:
    """Return a run's job, its training rows, and the targets that are stored of them."""
    recipe = Recipe.model_validate(values)
    with RunDir.open(root, recipe) as run:
        job = Job(run, recipe, Silent())
    rows, spec = job.exchanges("train"), TargetSpec("top-k", COUNT)
    keys = sorted(job.store.target_ids(job.scorer_identity, spec) & {r.exchange_id for r in rows})
    stored = job.store.targets(job.scorer_identity, spec, keys)
    found = {k: v for k, v in zip(keys, stored, strict=True) if isinstance(v, LikeliestTokens)}
    return job, rows, found


def loss_by_hand(
    student: LoadedModel,
    texts: list[Text],
    targets: dict[str, LikeliestTokens],
    weight: float = 0.0,
) -> float:
    """Return the loss a token in float64: coarse forward KL, `weight` of it cross-entropy, where
    there are targets; else cross-entropy alone."""
    total, tokens = 0.0, 0
    for text in texts:
        (hidden_RD,) = response_hidden(student, [(text.prompt_ids, text.response_ids)])
        with torch.no_grad():
            q_RV = head_of(student).logits(hidden_RD).double().softmax(-1)
        known = targets.get(text.exchange.exchange_id)
        for row, label in enumerate(text.response_ids):
            tokens += 1
            nll = -float(q_RV[row, label].log())
            if known is None:
                total += nll
                continue
            p_K = known.logp_RK[row].double().exp()
            p_C = torch.cat([p_K, (1 - p_K.sum()).clamp(min=0).reshape(1)])
            q_C = loss_oracle.coarse(q_RV[row], known.ids_RK[row].tolist())
            divergence = float(loss_oracle.divergence(Divergence(), p_C, q_C))
            total += (1 - weight) * divergence + weight * nll
    return total / tokens
