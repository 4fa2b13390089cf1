"""What a mark comes to: its tokens, its cost in perplexity, and how far it moves distributions."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from potstill.collect.answers import Question
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.store import ExchangeStore
from potstill.models.generate import Request, completions
from potstill.models.head import Head
from potstill.models.likelihood import response_nll
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling, surviving
from potstill.models.score import response_hidden
from potstill.progress import Progress
from potstill.terms.gate import TermsDecision
from potstill.watermark.marking import doubts, marked_windows
from potstill.watermark.schemes import GreenList
from potstill.watermark.survivors import OwnScheme, tilted
from potstill.work.mark import TrainingMark
from potstill.work.marked import MarkedAnswers

# Answers whose perplexity is measured, and which are drawn once more without a mark.
_SAMPLE = 64
# Positions whose distributions are compared at a time.
_POSITIONS = 32


def mark_effect(
    teacher: LoadedModel,
    wanted: Sequence[Question],
    sampling: Sampling,
    mark: TrainingMark,
    store: ExchangeStore,
    decision: TermsDecision,
    *,
    slots: int,
    samples: int,
    progress: Progress,
) -> MarkedAnswers:
    """Return what a mark comes to in the stored answers to questions, in order of exchange id.

    The first of them are measured: their ids are digests, so that this is a sample by chance.
    `decision` is the terms gate's, since the teacher is asked again.
    """
    decision.require(asks=True)
    scheme, head = mark.scheme, head_of(teacher)
    by_id = {question.exchange_id: question for question in wanted}
    rows = [row for row in store.read() if row.exchange_id in by_id]
    sample = rows[:_SAMPLE]
    requests = [Request(row.exchange_id, by_id[row.exchange_id].prompt_ids) for row in sample]
    with progress.step("effect of the mark", total=len(sample), unit="responses") as step:
        plain = completions(teacher, requests, sampling, slots=slots, step=step)
    marked_ids = [row.ids for row in sample]
    plain_ids = [(r.prompt_ids, c.token_ids) for r, c in zip(requests, plain, strict=True)]
    states = response_hidden(teacher, marked_ids)
    return MarkedAnswers(
        **mark.record().model_dump(),
        answers=len(rows),
        tokens=sum(len(row.ids[1]) for row in rows),
        marked_tokens=sum(_marked(scheme, sampling, row) for row in rows),
        sample=len(sample),
        perplexity_marked=_perplexity(states, head, [ids for _, ids in marked_ids]),
        perplexity_unmarked=_perplexity(
            response_hidden(teacher, plain_ids), head, [ids for _, ids in plain_ids]
        ),
        kl_per_token=(
            _kl_per_token(scheme, sampling, states, head, sample)
            if isinstance(scheme, GreenList)
            else None
        ),
        doubts=doubts(scheme, sampling, samples),
    )


def _marked(scheme: OwnScheme, sampling: Sampling, row: Exchange) -> int:
    """Return how many tokens of an answer the key had a say in."""
    if sampling.temperature == 0:
        return 0
    return sum(window is not None for window in marked_windows(scheme, row.ids[1]))


def _perplexity(
    states: Sequence[Tensor], head: Head, response_ids: Sequence[Sequence[int]]
) -> float:
    nll = response_nll(states, head, response_ids)
    return math.exp(float(nll.sum()) / sum(map(len, response_ids)))


@torch.inference_mode()
def _kl_per_token(
    scheme: GreenList,
    sampling: Sampling,
    states: Sequence[Tensor],
    head: Head,
    rows: Sequence[Exchange],
) -> float:
    """Return the mean of KL(marked || unmarked) over all tokens of answers, in nats."""
    total, tokens = 0.0, 0
    for hidden_RD, row in zip(states, rows, strict=True):
        windows = marked_windows(scheme, row.ids[1])
        tokens += len(windows)
        at = [n for n, window in enumerate(windows) if window is not None]
        for start in range(0, len(at), _POSITIONS):
            some = at[start : start + _POSITIONS]
            chosen = [window for n in some if (window := windows[n]) is not None]
            weight_NV = surviving(head.logits(hidden_RD[some]), sampling)
            total += float(kl_of_mark(scheme, weight_NV, chosen).sum())
    return total / tokens


def said_of(marked: MarkedAnswers) -> str:
    """Say what a mark came to."""
    share = marked.marked_tokens / max(1, marked.tokens)
    kl = "" if marked.kl_per_token is None else f", KL {marked.kl_per_token:.3g} nats a token"
    return (
        f"mark: {share:.0%} of {marked.tokens:,} tokens carry it; perplexity "
        f"{marked.perplexity_unmarked:.3g} without and {marked.perplexity_marked:.3g} with it, on "
        f"{marked.sample} answers{kl}"
    )


def kl_of_mark(scheme: GreenList, weight_NV: Tensor, windows: Sequence[tuple[int, ...]]) -> Tensor:
    """Return KL(marked || unmarked)_N in nats, float64, of positions with a window each.

    `weight_NV` are unnormalised probabilities without the mark. It is exact: the key tells which
    of the tokens are green.
    """
    marked_NV = tilted(scheme, weight_NV, windows)
    marked_NV = marked_NV / marked_NV.sum(-1, keepdim=True)
    plain_NV = weight_NV.double()
    plain_NV = plain_NV / plain_NV.sum(-1, keepdim=True)
    own_NV = torch.where(marked_NV > 0, (marked_NV / plain_NV).log(), 0.0)
    return (marked_NV * own_NV).sum(-1)
