"""Which feed-forward channels and heads a block can spare, from activations.

A channel (or a head's columns) S of a block's writing map W is worth what the map's output lacks
without it after the others have been refitted to make up for it. With G = x^T x over calibration
tokens and H = (G + lambda I)^-1 that is

    cost(S) = trace(W_S (H_SS)^-1 W_S^T),    then   W <- W - W_S (H_SS)^-1 H_S:,
                                                    H <- H - H_:S (H_SS)^-1 H_S:

(the optimal brain surgeon, Hassibi & Stork 1993, equation 5, for groups of columns: ZipLM, Kurtic,
Frantar & Alistarh 2023, arXiv 2302.04089, equations 2 and 3). So a channel that others can stand
in for goes first, however active it is. Removing the cheapest again and again gives an order in
which every cut is a prefix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from potstill.models.load import blocks_of
from potstill.models.loaded import LoadedModel
from potstill.progress import Progress
from potstill.shrink.cut import Kept
from potstill.shrink.heal import gram_of
from potstill.shrink.streams import Batch, advance
from potstill.shrink.width import attentions, feed_forwards

# Single channels go this share of the rest at a time: costs are brought up to date in between.
_AT_ONCE = 32


@dataclass(frozen=True)
class Ranking:
    """For each block the channels and key-value heads, dearest first; None where not ranked."""

    channels: Kept | None = None
    kv_heads: Kept | None = None

    def kept_channels(self, count: int) -> Kept:
        """Return the `count` channels to keep of each block, in rising order."""
        assert self.channels is not None
        return tuple(tuple(sorted(row[:count])) for row in self.channels)

    def kept_kv_heads(self, count: int) -> Kept:
        """Return the `count` key-value heads to keep of each block, in rising order."""
        assert self.kv_heads is not None
        return tuple(tuple(sorted(row[:count])) for row in self.kv_heads)


@torch.no_grad()
def rank(
    teacher: LoadedModel,
    batches: Sequence[Batch],
    *,
    channels: bool,
    heads: bool,
    ridge: float,
    progress: Progress,
) -> Ranking:
    """Return the order in which the teacher can spare channels and heads.

    One pass over the calibration text, one block at a time. Raises PotstillError where the
    architecture has no channels or heads that could go.
    """
    parts = feed_forwards(teacher.network) if channels else []
    heads_of = attentions(teacher.network) if heads else []
    blocks = blocks_of(teacher.network)
    states = [batch.hidden_BTD for batch in batches]
    channel_orders: list[tuple[int, ...]] = []
    head_orders: list[tuple[int, ...]] = []
    with progress.step("rank channels and heads", total=len(blocks), unit="blocks") as step:
        for number, block in enumerate(blocks):
            maps = ([parts[number].writer] if parts else []) + (
                [heads_of[number].writer] if heads_of else []
            )
            grams, states = _grams(block, maps, states, batches, number)
            if parts:
                order = elimination_order(grams[0], parts[number].writer.weight, ridge=ridge)
                channel_orders.append(tuple(order))
            if heads_of:
                part = heads_of[number]
                order = elimination_order(
                    grams[-1], part.writer.weight, size=part.group_width, ridge=ridge
                )
                head_orders.append(tuple(order))
            step.advance(1)
    return Ranking(
        tuple(channel_orders) if channels else None, tuple(head_orders) if heads else None
    )


def _grams(
    block: Any,
    maps: Sequence[nn.Linear],
    states: Sequence[Tensor],
    batches: Sequence[Batch],
    number: int,
) -> tuple[list[Tensor], list[Tensor]]:
    """Return x^T x of what each map reads, and the states after the block."""
    grams = [torch.zeros(m.in_features, m.in_features, device=m.weight.device) for m in maps]
    after: list[Tensor] = []
    for batch, state in zip(batches, states, strict=True):
        seen: list[Tensor] = [state] * len(maps)

        def note(module: Any, args: tuple[Any, ...], seen: list[Tensor] = seen) -> None:
            seen[next(i for i, m in enumerate(maps) if m is module)] = args[0]

        handles = [m.register_forward_pre_hook(note) for m in maps]
        try:
            after.append(advance(block, state, batch.block_kwargs[number]))
        finally:
            for handle in handles:
                handle.remove()
        for gram_FF, input_BTF in zip(grams, seen, strict=True):
            gram_of(input_BTF[batch.real_BT], into=gram_FF)
    return grams, after


def elimination_order(
    gram_FF: Tensor, weight_DF: Tensor, *, size: int = 1, ridge: float
) -> list[int]:
    """Return groups of `size` adjoining columns of a map, the one to keep longest first.

    `gram_FF` is x^T x of the map's input; lambda is `ridge` times its mean diagonal. float64
    inside. Single columns are removed a few at a time.
    """
    gram_FF = gram_FF.double()
    pull = ridge * gram_FF.diagonal().mean().clamp(min=1e-12)
    eye_FF = torch.eye(len(gram_FF), dtype=gram_FF.dtype, device=gram_FF.device)
    inverse_FF = torch.cholesky_inverse(torch.linalg.cholesky(gram_FF + pull * eye_FF))
    weight_DF = weight_DF.double()
    left = list(range(len(gram_FF) // size))
    gone: list[int] = []
    while len(left) > 1:
        cost_G = _removal_costs(inverse_FF, weight_DF, size)
        count = max(1, len(left) // _AT_ONCE) if size == 1 else 1
        going = torch.argsort(cost_G, stable=True)[:count].tolist()
        weight_DF, inverse_FF = _without(weight_DF, inverse_FF, going, size)
        gone += [left[i] for i in going]
        left = [group for i, group in enumerate(left) if i not in set(going)]
    return left + gone[::-1]


def _removal_costs(inverse_FF: Tensor, weight_DF: Tensor, size: int) -> Tensor:
    """Return cost_G: trace(W_S (H_SS)^-1 W_S^T) of each group alone."""
    cost_G: Tensor
    if size == 1:
        cost_G = weight_DF.pow(2).sum(0) / inverse_FF.diagonal()
        return cost_G
    groups = weight_DF.shape[1] // size
    weight_GSD = weight_DF.T.reshape(groups, size, -1)
    index_G = torch.arange(groups, device=inverse_FF.device)
    inverse_GSS = inverse_FF.reshape(groups, size, groups, size)[index_G, :, index_G, :]
    cost_G = (torch.linalg.solve(inverse_GSS, weight_GSD) * weight_GSD).sum((1, 2))
    return cost_G


def _without(
    weight_DF: Tensor, inverse_FF: Tensor, groups: Sequence[int], size: int
) -> tuple[Tensor, Tensor]:
    """Return W and H of the remaining columns after the others have made up for `groups`."""
    going_F = torch.zeros(inverse_FF.shape[0], dtype=torch.bool, device=inverse_FF.device)
    for group in groups:
        going_F[group * size : (group + 1) * size] = True
    inverse_RS = inverse_FF[~going_F][:, going_F]
    fold_SR = torch.linalg.solve(inverse_FF[going_F][:, going_F], inverse_RS.T)
    weight_DR = weight_DF[:, ~going_F] - weight_DF[:, going_F] @ fold_SR
    return weight_DR, inverse_FF[~going_F][:, ~going_F] - inverse_RS @ fold_SR
