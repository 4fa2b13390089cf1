"""Which feed-forward channels and heads a block can spare, from activations.

A channel (or a head's columns) S of a block's writing map W is worth what the map's output lacks
without it after the others have been refitted to make up for it. With G = x^T x over calibration
tokens and H = (G + lambda diag G)^-1 that is

    cost(S) = trace(W_S (H_SS)^-1 W_S^T),    then   W <- W - W_S (H_SS)^-1 H_S:,
                                                    H <- H - H_:S (H_SS)^-1 H_S:

(the optimal brain surgeon, Hassibi & Stork 1993, equation 5, for groups of columns: ZipLM, Kurtic,
Frantar & Alistarh 2023, arXiv 2302.04089, equations 2 and 3). So a channel that others can stand
in for goes first, however active it is. Removing the cheapest again and again gives an order in
which every cut is a prefix.

The pull towards the old weights is in proportion to each input's own energy. One number for all,
as healing has it, would be set by the few inputs that are huge on a few tokens, and would hide from
the ranking how active the others are (SmolLM2, 1152 of 1536 channels: KL 1.32 that way, 0.84 this
way, before healing).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.models.load import blocks_of
from potstill.models.loaded import LoadedModel
from potstill.progress import Progress
from potstill.shrink.cut import KeptRows
from potstill.shrink.streams import Batch, TeacherStream
from potstill.shrink.width import attentions, feed_forwards

# Single channels go this share of the rest at a time: costs are brought up to date in between.
_AT_ONCE = 32


@dataclass(frozen=True)
class Ranking:
    """For each block the channels and key-value heads, dearest first; None where not ranked."""

    channels: KeptRows | None = None
    kv_heads: KeptRows | None = None

    def kept_channels(self, count: int) -> KeptRows:
        """Return the `count` channels to keep of each block, in rising order."""
        assert self.channels is not None
        return tuple(tuple(sorted(row[:count])) for row in self.channels)

    def kept_kv_heads(self, count: int) -> KeptRows:
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

    It runs over the calibration text one block at a time. Raises PotstillError where the
    architecture has no channels or heads that could go.
    """
    parts = feed_forwards(teacher.network) if channels else []
    attention = attentions(teacher.network) if heads else []
    count = len(blocks_of(teacher.network))
    stream = TeacherStream(teacher, batches)
    channel_orders: list[tuple[int, ...]] = []
    head_orders: list[tuple[int, ...]] = []
    with progress.step("rank channels and heads", total=count, unit="blocks") as step:
        for number in range(count):
            wanted = [(p.writer, 1, channel_orders) for p in parts[number : number + 1]]
            wanted += [(a.writer, a.group_width, head_orders) for a in attention[number:][:1]]
            grams = stream.grams(number, [writer for writer, _, _ in wanted])
            for (writer, size, orders), gram_FF in zip(wanted, grams, strict=True):
                order = elimination_order(gram_FF, writer.weight, size=size, ridge=ridge)
                orders.append(tuple(order))
            step.advance(1)
    return Ranking(
        tuple(channel_orders) if channels else None, tuple(head_orders) if heads else None
    )


def elimination_order(
    gram_FF: Tensor, weight_DF: Tensor, *, size: int = 1, ridge: float
) -> list[int]:
    """Return groups of `size` adjoining columns of a map, the one to keep longest first.

    `gram_FF` is x^T x of the map's input; lambda is `ridge` times its diagonal. float64 inside.
    Single columns are removed a few at a time.
    """
    gram_FF = gram_FF.double()
    energy_F = gram_FF.diagonal()
    # An input that is always zero would leave the system without an inverse.
    pull_F = ridge * energy_F.clamp(min=1e-6 * float(energy_F.mean()) + 1e-12)
    inverse_FF = torch.cholesky_inverse(torch.linalg.cholesky(gram_FF + pull_F.diag()))
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
