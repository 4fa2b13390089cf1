"""Answers that a student writes while it is trained, and what is odd about them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from potstill.errors import PotstillError
from potstill.exchanges.targets import TargetValues
from potstill.models.chat import response_text
from potstill.models.generate import SLOTS, Completion, Request, SlotUse, decode
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.precision import fast_products
from potstill.models.sampling import Sampling
from potstill.recipe import OnPolicyConfig
from potstill.text.repetition import repetition
from potstill.train.live_teacher import LIKELIEST
from potstill.train.own_teacher import OwnTeacher
from potstill.work.stage_records import OwnTextLearnt, OwnTextRead

# At how many positions of a draw likeliest tokens are compared.
_POSITIONS = 256
# Of how many answers the share that is cut off is looked at, and the fewest that say anything.
_WINDOW, _FEWEST = 64, 16


class DrawFigures(BaseModel):
    """What is known of the answers that were written at once, before the step `step` (from 0).

    `lengths` are (prompt tokens, response tokens) of each. `cut` were cut off at the limit and
    `repeated` repeat themselves. `overlap` is the share of the student's likeliest tokens that are
    among as many of the teacher's, over positions of these answers. `busy` of `offered` places
    for answers did work, counted a decoding step. `untold` is the mass that the student gives, over
    the same positions, to tokens that a server did not tell, and `untold_teacher` the server's own;
    None where the teacher's whole distribution is at hand.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step: int
    lengths: tuple[tuple[int, int], ...]
    cut: int
    repeated: int
    overlap: float
    busy: int
    offered: int
    writing_s: float
    scoring_s: float
    untold: float | None = None
    untold_teacher: float | None = None


@dataclass(frozen=True)
class OwnAnswers:
    """Answers in the order of their requests, and what the teacher makes of each."""

    completions: tuple[Completion, ...]
    values: tuple[TargetValues, ...]
    figures: DrawFigures


def own_answers(
    student: LoadedModel,
    requests: Sequence[Request],
    teacher: OwnTeacher,
    config: OnPolicyConfig,
    step: int,
    *,
    group: int = 0,
) -> OwnAnswers:
    """Have a student answer, and the teacher read what it wrote.

    A request's key alone decides its random numbers, whatever is written beside it. Raises
    PotstillError where the teacher cannot read all of it.
    """
    started = time.perf_counter()
    use = SlotUse()
    written = written_by(student, requests, config, use)
    between = time.perf_counter()
    texts = [(r.prompt_ids, w.token_ids) for r, w in zip(requests, written, strict=True)]
    values = teacher.read(texts, group)
    scored = time.perf_counter()
    compared = _compared(student, written, teacher, values)
    figures = DrawFigures(
        step=step,
        lengths=tuple((len(prompt), len(response)) for prompt, response in texts),
        cut=sum(w.finish_reason == "length" for w in written),
        repeated=sum(repetition(response_text(student, w.token_ids)) is not None for w in written),
        overlap=compared.overlap,
        busy=use.busy,
        offered=use.offered,
        writing_s=between - started,
        scoring_s=scored - between,
        untold=None if teacher.told is None else compared.untold,
        untold_teacher=None if teacher.told is None else compared.untold_teacher,
    )
    return OwnAnswers(tuple(written), tuple(values), figures)


def written_by(
    student: LoadedModel,
    requests: Sequence[Request],
    config: OnPolicyConfig,
    use: SlotUse | None = None,
) -> list[Completion]:
    """Return a student's answers in the order of their requests, with the states behind each."""
    sampling = Sampling(
        temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens
    )
    slots = min(SLOTS, len(requests))
    groups = decode(student, requests, sampling, slots=slots, keep_hidden=True, use=use)
    found = {done.key: done for group in groups for done in group}
    return [found[request.key] for request in requests]


@dataclass(frozen=True)
class OwnCompared:
    """Both at the same positions: the share of likeliest tokens that they have in common, and the
    mass that each gives to tokens which the teacher did not tell."""

    overlap: float
    untold: float
    untold_teacher: float


def _compared(
    student: LoadedModel,
    written: Sequence[Completion],
    teacher: OwnTeacher,
    values: Sequence[TargetValues],
) -> OwnCompared:
    """Compare them at 256 positions at most, evenly apart."""
    own_ND = torch.cat([w.hidden_RD for w in written if w.hidden_RD is not None])
    every = max(1, -(-len(own_ND) // _POSITIONS))
    head = head_of(student)
    with torch.inference_mode(), fast_products():
        mine_NV = head.logits(own_ND[::every].to(head.weight_VD.device)).log_softmax(-1)
        ids_NK, logp_NK = teacher.likeliest(values, every)
        return compared(mine_NV, ids_NK.to(mine_NV.device), logp_NK.to(mine_NV.device))


def compared(mine_NV: Tensor, ids_NK: Tensor, logp_NK: Tensor) -> OwnCompared:
    """Compare a student's log-probabilities with what a teacher told, of at most 16 tokens."""
    count = min(LIKELIEST, mine_NV.shape[1], ids_NK.shape[1])
    mine_NC = mine_NV.topk(count).indices
    theirs_NC = ids_NK.gather(1, logp_NK.topk(count).indices)
    shared_NC = (mine_NC[:, :, None] == theirs_NC[:, None, :]).any(-1)
    return OwnCompared(
        overlap=float(shared_NC.float().mean()),
        untold=_untold(mine_NV.gather(1, ids_NK)),
        untold_teacher=_untold(logp_NK),
    )


def _untold(logp_NK: Tensor) -> float:
    return float((1.0 - logp_NK.double().exp().sum(-1)).mean())


def learnt(
    draws: Sequence[DrawFigures], steps: int, stored_steps: int, served: OwnTextRead | None = None
) -> OwnTextLearnt:
    """Return what a training records of the draws that its steps learnt from.

    `served` is what a server took for reading them.
    """
    if served is not None:
        rest = {"untold_first": draws[0].untold, "untold_last": draws[-1].untold}
        served = served.model_copy(update=rest)
    return OwnTextLearnt(
        steps=steps,
        stored_steps=stored_steps,
        cut=sum(draw.cut for draw in draws),
        repeated=sum(draw.repeated for draw in draws),
        overlap_first=draws[0].overlap,
        overlap_last=draws[-1].overlap,
        slots_busy=sum(draw.busy for draw in draws) / max(1, sum(draw.offered for draw in draws)),
        writing_s=sum(draw.writing_s for draw in draws),
        scoring_s=sum(draw.scoring_s for draw in draws),
        lengths=tuple(pair for draw in draws for pair in draw.lengths),
        served=served,
    )


def check_cut(draws: Sequence[DrawFigures], config: OnPolicyConfig) -> None:
    """Raise PotstillError where too many of the latest answers were cut off at the limit."""
    answers = cut = 0
    for draw in reversed(draws):
        answers, cut = answers + len(draw.lengths), cut + draw.cut
        if answers >= _WINDOW:
            break
    if answers < _FEWEST or cut <= config.cut_at_most * answers:
        return
    raise PotstillError(
        f"{cut} of the student's last {answers} own answers were cut off at "
        f"train.on_policy.max_tokens {config.max_tokens}, more than cut_at_most "
        f"{config.cut_at_most:g} allows: a student that ends no answer learns from endless ones; "
        "raise max_tokens, learn longer from stored answers first (stored_first), or set "
        "cut_at_most to 1 where beginnings of answers are enough"
    )
