"""What a cut takes of a job's text: rows to calibrate on, and how much it needs each token."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from potstill.models.score import response_hidden
from potstill.shrink.trials import first_tokens
from potstill.shrink.vocabulary import merges_of, removal_cost, unseen_counts
from potstill.work.corpus import Corpus

# Positions of the job's text at which the cost of losing a token is measured.
_COST_POSITIONS = 13_000


@torch.inference_mode()
def token_weights(corpus: Corpus) -> Tensor:
    """Return weight_V: how much the job's text needs each token, in nats.

    What losing a token would cost the teacher's distributions, at positions spread over all of
    the text; and one nat for each time that it stands in the text, which would be cut up, or may
    be expected to stand in as much text again.
    """
    texts = corpus.parent_ids("train")
    width = corpus.opened.parent_head.weight_VD.shape[0]
    ids_T = torch.tensor([i for text in texts for part in text for i in part])
    count_V = torch.bincount(ids_T, minlength=width)
    positions = sum(len(response) for _, response in texts)
    stride = max(1, positions // _COST_POSITIONS)
    merges = merges_of(corpus.opened.parent.tokenizer)
    weight_V = count_V.double() + unseen_counts(merges, count_V)
    first_V = merges.first_parts(width)
    for hidden_ND in _spread_states(corpus, texts, stride):
        for chunk_ND in hidden_ND.to(corpus.opened.parent.device).split(128):
            p_NV = corpus.opened.parent_head.logits(chunk_ND).softmax(-1)
            weight_V += removal_cost(p_NV, first_V).double().cpu() * stride
    return weight_V


def _spread_states(
    corpus: Corpus, ids: Sequence[tuple[Sequence[int], Sequence[int]]], stride: int
) -> Iterator[Tensor]:
    """Yield the parent's states hidden_ND on one in `stride` positions of the responses.

    Stored ones are taken from every row. What the parent has to read for it comes from one row
    in `stride`, whole, so that it reads no more than is used.
    """
    rows = corpus.exchanges("train")
    for start in range(0, len(rows), 64):
        group = rows[start : start + 64]
        stored = [state for state in corpus.hidden(group) if state is not None]
        if len(stored) == len(group):
            yield torch.cat(stored)[::stride]
            continue
        read = [ids[i] for i in range(start, start + len(group)) if i % stride == 0]
        if read:
            yield torch.cat(response_hidden(corpus.opened.parent, read))


def calibration_rows(corpus: Corpus, tokens: int) -> list[Sequence[int]]:
    """Return teacher text (prompt and response ids) of about so many tokens."""
    return first_tokens([sum(ids, ()) for ids in corpus.parent_ids("train")], tokens)
