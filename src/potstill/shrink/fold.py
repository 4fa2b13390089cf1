"""Fold what channels and heads contributed into the weights of those that are left.

With G = x^T x of what the teacher's own map W reads, R what was removed of it and K what was kept,

    W'_K = W_K + W_R G_RK (G_KK + lambda I)^-1,   lambda = ridge * mean diagonal of G_KK

is the ridge regression of the teacher's output on the kept inputs, pulled towards the old weights
(the optimal brain surgeon's update, Hassibi & Stork 1993, equation 5, for all columns at once). It
holds whatever the block does with the output afterwards.

It is fitted on the *teacher's* activations. On the student's own, which have drifted, the same
regression does harm: it fits an old output to inputs that no longer belong to it (SmolLM2 on
validation prompts, 2 of 3 key-value heads: KL 0.78 cut, 0.76 folded so, 0.52 from the teacher's;
1152 of 1536 channels: 0.84 cut, 0.97 folded so, 0.70 from the teacher's).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from potstill.models.parts import attention_of, feed_forward_of
from potstill.shrink.cut import Cut
from potstill.shrink.streams import TeacherStream


def fold_width(
    block: nn.Module,
    original: nn.Module,
    cut: Cut,
    number: int,
    stream: TeacherStream,
    ridge: float,
) -> None:
    """Fold what `cut` took from the teacher's block `number` into the student's block, in place."""
    pairs: list[tuple[nn.Linear, nn.Linear, Sequence[int]]] = []
    if cut.kv_heads is not None:
        mine, theirs = attention_of(block), attention_of(original)
        assert mine is not None
        assert theirs is not None
        width = theirs.group_width
        kept = [head * width + i for head in cut.kv_heads[number] for i in range(width)]
        pairs.append((mine.writer, theirs.writer, kept))
    if cut.channels is not None:
        narrow, whole = feed_forward_of(block), feed_forward_of(original)
        assert narrow is not None
        assert whole is not None
        pairs.append((narrow.writer, whole.writer, cut.channels[number]))
    grams = stream.grams(number, [whole_writer for _, whole_writer, _ in pairs])
    for (writer, whole_writer, kept_K), gram_FF in zip(pairs, grams, strict=True):
        delta_DK = folded(whole_writer.weight, gram_FF, kept_K, ridge)
        writer.weight += delta_DK.to(writer.weight.dtype)


def folded(weight_DF: Tensor, gram_FF: Tensor, kept: Sequence[int], ridge: float) -> Tensor:
    """Return delta_DK to add to the kept columns of a map; float64 inside."""
    gram_FF = gram_FF.double()
    kept_F = torch.zeros(len(gram_FF), dtype=torch.bool, device=gram_FF.device)
    kept_F[list(kept)] = True
    gram_KK, gram_RK = gram_FF[kept_F][:, kept_F], gram_FF[~kept_F][:, kept_F]
    pull = ridge * gram_KK.diagonal().mean().clamp(min=1e-12)
    system_KK = gram_KK + pull * torch.eye(len(gram_KK), device=gram_KK.device).double()
    cross_DK = weight_DF[:, ~kept_F].double() @ gram_RK
    factor_KK = torch.linalg.cholesky(system_KK)
    return torch.cholesky_solve(cross_DK.T, factor_KK).T.float()
