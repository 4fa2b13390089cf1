"""A teacher that answers in int8: made, measured beside itself, and refused where it is too far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.collect.answers import Question
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange
from potstill.models.int8 import OUTLIERS, in_int8
from potstill.models.likelihood import (
    Floats,
    chunks,
    log_probabilities,
    products_of,
    ready,
    sums_by_text,
)
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.progress import Progress
from potstill.stats.bootstrap import ratio_interval
from potstill.terms.gate import TermsDecision
from potstill.work.figures import Estimate
from potstill.work.rounded import RoundedAnswers

# Nats a token; what is further from the teacher is no longer its distribution.
FURTHEST = 0.01
# Prompts on which channels are found, and held-out answers on which the rest is measured.
_CALIBRATION = 64
_MEASURED = 64
_POSITIONS = 64


@dataclass(frozen=True)
class RoundedTeacher:
    """A teacher in int8, and how far it is from itself."""

    model: LoadedModel
    answers: RoundedAnswers


def rounded_teacher(
    teacher: LoadedModel,
    questions: Sequence[Question],
    held_out: Sequence[Exchange],
    decision: TermsDecision,
    *,
    seed: int,
    progress: Progress,
) -> RoundedTeacher:
    """Return a teacher that multiplies bytes, measured on its own `held_out` answers.

    `decision` is the terms gate's, since the teacher reads. Channels are found on the first of the
    `questions`, whose order is that of digests. Raises PotstillError where the CPU does not
    multiply bytes fast, and where the distributions are more than 0.01 nats a token apart.
    """
    decision.require(asks=True)
    rows = [row for row in held_out[:_MEASURED] if row.ids[1]]
    if not rows:
        raise PotstillError(
            "teacher.precision int8 is measured on held-out answers, and there are none; raise "
            "prompts.held_out_count, or leave teacher.precision out"
        )
    with progress.step("teacher in int8", total=len(rows), unit="responses") as step:
        prompts = [question.prompt_ids for question in questions[:_CALIBRATION]]
        made = in_int8(teacher, prompts)
        ids = [row.ids for row in rows]
        own, other = response_hidden(teacher, ids), response_hidden(made.model, ids)
        kl_R = kl_sums(teacher, own, other, [response for _, response in ids])
        step.advance(len(rows))
    tokens_R = [len(response) for _, response in ids]
    apart = float(kl_R.sum()) / sum(tokens_R)
    if not apart <= FURTHEST:
        raise PotstillError(
            f"the teacher in int8 is {apart:.3f} nats a token from itself (KL on {len(rows)} "
            f"held-out answers), and {FURTHEST} is the most that is learnt from; leave "
            "teacher.precision out"
        )
    kl = ratio_interval(kl_R, tokens_R, seed=seed)
    progress.note(
        f"teacher in int8: {made.share:.0%} of the body's parameters; KL from the teacher's own "
        f"{kl.value:.4f} nats a token on {len(rows)} held-out answers"
    )
    found = RoundedAnswers(
        kl_per_token=Estimate.of(kl),
        share=made.share,
        channels=OUTLIERS,
        calibration=len(prompts),
    )
    return RoundedTeacher(made.model, found)


@torch.inference_mode()
def kl_sums(
    model: LoadedModel,
    own: Sequence[Tensor],
    other: Sequence[Tensor],
    response_ids: Sequence[Sequence[int]],
) -> Floats:
    """Return the sum over each text's positions of KL(own || other), in nats and float64.

    `own` and `other` are states hidden_RD a text, read by the model's one head.
    """
    head = head_of(model)
    prepared = ready(head, precise=True)
    parts = []
    with products_of([head]):
        for _, (own_ND, other_ND) in chunks([own, other], response_ids, _POSITIONS):
            logp_NV = log_probabilities(prepared, own_ND)
            apart_NV = logp_NV - log_probabilities(prepared, other_ND)
            # A token that the model cannot write has no mass in either.
            terms_NV = (logp_NV.exp() * apart_NV).nan_to_num_(nan=0.0, posinf=float("inf"))
            parts.append(terms_NV.sum(-1).double().cpu())
    lengths = [len(ids) for ids in response_ids]
    return sums_by_text(torch.cat(parts) if parts else torch.zeros(0).double(), lengths)
