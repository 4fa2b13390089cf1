"""Answers that a student writes while it is trained, and what is odd about them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from potstill.errors import PotstillError
from potstill.losses.teacher import TeacherHead
from potstill.models.chat import response_text
from potstill.models.generate import SLOTS, Completion, Request, SlotUse, decode
from potstill.models.head import Head
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.recipe import OnPolicyConfig
from potstill.text.repetition import repetition
from potstill.train.live_teacher import LiveTeacher
from potstill.work.stage_records import OwnTextLearnt

# The likeliest tokens of both that are compared, and at how many positions of a draw.
LIKELIEST = 16
_POSITIONS = 256
# Of how many answers the share that is cut off is looked at, and the fewest that say anything.
_WINDOW, _FEWEST = 64, 16


class DrawFigures(BaseModel):
    """What is known of the answers that were written at once, before the step `step` (from 0).

    `lengths` are (prompt tokens, response tokens) of each. `cut` were cut off at the limit and
    `repeated` repeat themselves. `overlap` is the share of the student's likeliest tokens that are
    among as many of the teacher's, over positions of these answers. `busy` of `offered` places
    for answers did work, counted a decoding step.
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


@dataclass(frozen=True)
class OwnAnswers:
    """Answers in the order of their requests, and the teacher's states at each."""

    completions: tuple[Completion, ...]
    teacher_states: tuple[Tensor, ...]
    figures: DrawFigures


def own_answers(
    student: LoadedModel,
    requests: Sequence[Request],
    teacher: LiveTeacher,
    config: OnPolicyConfig,
    step: int,
) -> OwnAnswers:
    """Have a student answer, and the teacher read what it wrote.

    A request's key alone decides its random numbers, whatever is written beside it.
    """
    started = time.perf_counter()
    use = SlotUse()
    written = _written(student, requests, config, use)
    between = time.perf_counter()
    texts = [(r.prompt_ids, w.token_ids) for r, w in zip(requests, written, strict=True)]
    states = teacher.hidden(texts)
    scored = time.perf_counter()
    own_ND = torch.cat([w.hidden_RD for w in written if w.hidden_RD is not None])
    figures = DrawFigures(
        step=step,
        lengths=tuple((len(prompt), len(response)) for prompt, response in texts),
        cut=sum(w.finish_reason == "length" for w in written),
        repeated=sum(repetition(response_text(student, w.token_ids)) is not None for w in written),
        overlap=likeliest_overlap(own_ND, head_of(student), torch.cat(states), teacher.head),
        busy=use.busy,
        offered=use.offered,
        writing_s=between - started,
        scoring_s=scored - between,
    )
    return OwnAnswers(tuple(written), tuple(states), figures)


def _written(
    student: LoadedModel, requests: Sequence[Request], config: OnPolicyConfig, use: SlotUse
) -> list[Completion]:
    sampling = Sampling(
        temperature=config.temperature, top_p=config.top_p, max_tokens=config.max_tokens
    )
    slots = min(SLOTS, len(requests))
    groups = decode(student, requests, sampling, slots=slots, keep_hidden=True, use=use)
    found = {done.key: done for group in groups for done in group}
    return [found[request.key] for request in requests]


@torch.inference_mode()
def likeliest_overlap(
    student_ND: Tensor, student_head: Head, teacher_ND: Tensor, teacher_head: TeacherHead
) -> float:
    """Return the share of the student's 16 likeliest tokens that are among the teacher's 16.

    It is a mean over rows, of which 256 at most are looked at, evenly apart.
    """
    every = max(1, -(-len(student_ND) // _POSITIONS))
    device = student_head.weight_VD.device
    mine_NV = student_head.logits(student_ND[::every].to(device))
    theirs_NK = teacher_head.logits(teacher_ND[::every].to(device))
    count = min(LIKELIEST, mine_NV.shape[1], theirs_NK.shape[1])
    mine_NC, theirs_NC = mine_NV.topk(count).indices, theirs_NK.topk(count).indices
    shared_NC = (mine_NC[:, :, None] == theirs_NC[:, None, :]).any(-1)
    return float(shared_NC.float().mean())


def learnt(draws: Sequence[DrawFigures], steps: int, stored_steps: int) -> OwnTextLearnt:
    """Return what a training records of the draws that its steps learnt from."""
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
