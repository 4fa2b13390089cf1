"""Closed-form healing: refit the maps that write to the residual stream after a cut.

For a block kept in the student, the teacher's hidden state at the entry of the *next kept* block
is the target. With x the input of the block's `down_proj` (weight W), h its output on the
student's own activations and t the target, the refit is ridge regression towards the old weight:

    W' = W + (t - h)^T x (x^T x + lambda I)^-1,   lambda = ridge * mean diagonal of x^T x

(ReplaceMe, Shopkhoev et al. 2025, arXiv 2505.02819, fits one linear map for a run of dropped
blocks; here it lands in an ordinary weight, and in every later block too.)

Where attention and feed-forward part write side by side (a parallel residual), both maps are
refitted at once, x being both inputs end to end and each with the lambda of its own diagonal. The
ridge that is best for one map is too much for two: of some shares of it the one is taken that,
fitted to seven of eight texts, lacks least on the eighth. A bias is one more input, always 1, that
nothing pulls. What `potstill.shrink.writing` finds to be multiplied by a number s has (t - h) / s
to make up for. Behind a norm `potstill.shrink.normed` has the formula, and the share is chosen
there in the same way.

Where channels or heads went, the map that read them first has them folded into what is left, as
`potstill.shrink.fold` says.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from potstill.models.load import blocks_of
from potstill.models.loaded import LoadedModel
from potstill.models.parts import weight_of
from potstill.models.precision import fast_products
from potstill.progress import Step
from potstill.shrink.cut import Cut
from potstill.shrink.fold import fold_width
from potstill.shrink.normed import refit_normed
from potstill.shrink.ridge import NormalEquations, chosen_ridge, held_back
from potstill.shrink.streams import PROBED, Batch, TeacherStream, advance
from potstill.shrink.writing import Writing, writing_of


@torch.no_grad()
def heal(
    teacher: LoadedModel,
    student: LoadedModel,
    cut: Cut,
    batches: Sequence[Batch],
    *,
    ridge: float,
    cascade: bool,
    step: Step | None = None,
    stream: TeacherStream | None = None,
) -> list[int]:
    """Refit the student's weights in place; return the teacher's numbers of the blocks refitted.

    `cut` is what was taken from the teacher and has not been healed. Both models' hidden states
    travel side by side. Without `cascade` only the block before each gap is refitted, and those
    that lost channels or heads. A block that writes to the residual stream in a way that nothing
    here knows is passed over: what it lost itself is folded, and that is all. `stream` is the
    teacher's over the same batches, where the caller has one.
    """
    stream = stream or TeacherStream(teacher, batches)
    states = [batch.hidden_BTD.float() for batch in batches]
    refitted: list[int] = []
    lost_before = False
    teacher_blocks = blocks_of(teacher.network)
    kept = cut.kept_blocks(len(teacher_blocks))
    narrower = cut.channels is not None or cut.kv_heads is not None
    with torch.autocast(
        student.device.type, student.compute_dtype, enabled=student.compute_dtype != torch.float32
    ):
        for block, original, following in _with_next(
            blocks_of(student.network), kept, len(teacher_blocks)
        ):
            if narrower:
                fold_width(block, teacher_blocks[original], cut, original, stream, ridge)
            lost = narrower or following > original + 1
            lost_before = lost_before or lost
            wanted = lost or (cascade and lost_before)
            writing = _writing(block, states, batches, original) if wanted else None
            if not lost_before:
                # So far the student is the teacher, whose states are computed once for both.
                states = stream.at(following)
            elif writing is not None:
                targets = stream.at(following)
                states = _refit(block, writing, states, targets, batches, original, ridge)
            else:
                states = _advanced(block, states, batches, original)
            if writing is not None or narrower:
                refitted.append(original)
            if step is not None:
                step.advance(following - original)
    return refitted


def _with_next(
    blocks: nn.ModuleList, kept: Sequence[int], end: int
) -> list[tuple[nn.Module, int, int]]:
    """Return each student block with its teacher number and that of the block after it."""
    return list(zip(blocks, kept, [*kept[1:], end], strict=True))


def _writing(
    block: nn.Module, states: Sequence[Tensor], batches: Sequence[Batch], number: int
) -> Writing | None:
    return writing_of(block, states[0][:1, :PROBED], batches[0].probe_kwargs[number])


def _advanced(
    block: nn.Module, states: Sequence[Tensor], batches: Sequence[Batch], number: int
) -> list[Tensor]:
    """Return the states after a block, in fp32."""
    with fast_products():
        return [
            advance(block, state, batch.block_kwargs[number]).float()
            for state, batch in zip(states, batches, strict=True)
        ]


def _refit(
    block: nn.Module,
    writing: Writing,
    states: Sequence[Tensor],
    targets: Sequence[Tensor],
    batches: Sequence[Batch],
    number: int,
    ridge: float,
) -> list[Tensor]:
    """Refit one block's writers towards the targets and return the states after it."""
    seen: list[list[Tensor]] = [[] for _ in writing.maps]
    handles = [
        writer.register_forward_pre_hook(lambda module, args, into=into: into.append(args[0]))
        for writer, into in zip(writing.maps, seen, strict=True)
    ]
    try:
        states = _advanced(block, states, batches, number)
    finally:
        for handle in handles:
            handle.remove()
    real = [batch.real_BT for batch in batches]
    if writing.norm is not None:
        return _refit_normed(writing, seen[0], states, targets, real, ridge)
    return _refit_plain(
        writing,
        [_joined(writing, x) for x in zip(*seen, strict=True)],
        states,
        targets,
        real,
        ridge,
    )


def _joined(writing: Writing, inputs: Sequence[Tensor]) -> Tensor:
    """Return what the maps read end to end, and 1 for their bias where they have one."""
    bias = writing.bias
    ones = [] if bias is None else [torch.ones_like(inputs[0][..., :1])]
    joined_BTF: Tensor = (
        torch.cat([*inputs, *ones], -1) if len(inputs) + len(ones) > 1 else inputs[0]
    )
    return joined_BTF


def _refit_plain(
    writing: Writing,
    inputs: Sequence[Tensor],
    states: Sequence[Tensor],
    targets: Sequence[Tensor],
    real: Sequence[Tensor],
    ridge: float,
) -> list[Tensor]:
    """Refit maps whose outputs are added as they are, or times a number."""
    weights = [weight_of(writer) for writer in writing.maps]
    sums, held = (
        NormalEquations.empty(inputs[0].shape[-1], len(weights[0]), weights[0].device)
        for _ in range(2)
    )
    for input_BTF, state, target, real_BT in zip(inputs, states, targets, real, strict=True):
        residual_BTD = (target - state) / writing.scale
        back_BT = held_back(real_BT) if len(weights) > 1 else torch.zeros_like(real_BT)
        sums.add(input_BTF[real_BT & ~back_BT], residual_BTD[real_BT & ~back_BT])
        if back_BT.any():
            held.add(input_BTF[back_BT], residual_BTD[back_BT])
    best = chosen_ridge(sums, held, ridge, writing.widths)
    delta_DF = sums.plus(held).correction(best, writing.widths)
    begin = 0
    for weight_DF in weights:
        end = begin + weight_DF.shape[1]
        weight_DF += delta_DF[:, begin:end].to(weight_DF.dtype)
        begin = end
    if writing.bias is not None:
        writing.bias.add_(delta_DF[:, -1].to(writing.bias.dtype))
    # The maps' outputs are just added, so the new output needs no second run of the block.
    return [
        state + writing.scale * (input_BTF.float() @ delta_DF.T)
        for state, input_BTF in zip(states, inputs, strict=True)
    ]


def _refit_normed(
    writing: Writing,
    inputs: Sequence[Tensor],
    states: Sequence[Tensor],
    targets: Sequence[Tensor],
    real: Sequence[Tensor],
    ridge: float,
) -> list[Tensor]:
    """Refit a map and the gain of the norm behind it."""
    norm, (writer,) = writing.norm, writing.maps
    assert norm is not None
    weight_DF = weight_of(writer)
    # A norm's small differences are taken in fp32 whatever the student computes in.
    with torch.autocast(weight_DF.device.type, enabled=False):
        added = [_added(writing, input_BTF) for input_BTF in inputs]
        wanted = [
            ((target - state + part) / writing.scale)[real_BT]
            for target, state, part, real_BT in zip(targets, states, added, real, strict=True)
        ]
        read = [input_BTF[real_BT] for input_BTF, real_BT in zip(inputs, real, strict=True)]
        back = [held_back(real_BT)[real_BT] for real_BT in real]
        found = refit_normed(weight_DF, writing.bias, norm, read, wanted, ridge, back)
        weight_DF.copy_(found.weight_DF)
        norm.set_gain(found.gain_D)
        return [
            state - part + _added(writing, input_BTF)
            for state, part, input_BTF in zip(states, added, inputs, strict=True)
        ]


def _added(writing: Writing, input_BTF: Tensor) -> Tensor:
    """Return what a map and the norm behind it add to the stream, in fp32."""
    (writer,) = writing.maps
    assert writing.norm is not None
    return writing.scale * writing.norm(writer(input_BTF.float()))
