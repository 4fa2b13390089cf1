"""Closed-form healing: refit the maps that write to the residual stream after a cut.

For a block kept in the student, the teacher's hidden state at the entry of the *next kept* block
is the target. With x the input of the block's `down_proj` (weight W), h its output on the
student's own activations and t the target, the refit is ridge regression towards the old weight:

    W' = W + (t - h)^T x (x^T x + lambda I)^-1,   lambda = ridge * mean diagonal of x^T x

(ReplaceMe, Shopkhoev et al. 2025, arXiv 2505.02819, fits one linear map for a run of dropped
blocks; here it lands in an ordinary weight, and in every later block too.)

Where channels or heads went, the map that read them first has them folded into what is left, as
`potstill.shrink.fold` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from potstill.models.load import blocks_of
from potstill.models.loaded import LoadedModel
from potstill.models.parts import writer_of
from potstill.models.precision import bf16_products
from potstill.progress import Step
from potstill.shrink.blocks import writes_plainly
from potstill.shrink.cut import Cut
from potstill.shrink.fold import fold_width
from potstill.shrink.streams import Batch, TeacherStream, advance, gram_of


@dataclass
class NormalEquations:
    """Sums over tokens: gram_FF = x^T x, cross_DF = residual^T x, in fp32."""

    gram_FF: Tensor
    cross_DF: Tensor
    tokens: int = 0

    @classmethod
    def empty(cls, features: int, outputs: int, device: torch.device) -> NormalEquations:
        """Return sums over nothing."""
        return cls(
            torch.zeros(features, features, device=device),
            torch.zeros(outputs, features, device=device),
        )

    def add(self, input_NF: Tensor, residual_ND: Tensor) -> None:
        """Add tokens: what the map reads, and what its output lacks."""
        gram_of(input_NF, into=self.gram_FF)
        # Where maps compute in bf16 their residuals are rounded to it: the noise of single tokens.
        with bf16_products(enabled=input_NF.dtype == torch.bfloat16):
            self.cross_DF.addmm_(residual_ND.float().T, input_NF.float())
        self.tokens += len(input_NF)

    def correction(self, ridge: float) -> Tensor:
        """Return delta_DF to add to the weight; float64 inside."""
        gram_FF = self.gram_FF.double()
        pull = ridge * gram_FF.diagonal().mean().clamp(min=1e-12)
        system_FF = gram_FF + pull * torch.eye(len(gram_FF), device=gram_FF.device).double()
        factor_FF = torch.linalg.cholesky(system_FF)
        return torch.cholesky_solve(self.cross_DF.double().T, factor_FF).T.float()


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
    that lost channels or heads. A block that does not write plainly to the residual stream is
    passed over: what it lost itself is folded, and that is all. `stream` is the teacher's over
    the same batches, where the caller has one.
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
            plain = wanted and _plain(block, states, batches, original)
            if not lost_before:
                # So far the student is the teacher, whose states are computed once for both.
                states = stream.at(following)
            elif plain:
                targets = stream.at(following)
                states = _refit(block, states, targets, batches, original, ridge)
            else:
                states = _advanced(block, states, batches, original)
            if plain or narrower:
                refitted.append(original)
            if step is not None:
                step.advance(following - original)
    return refitted


def _with_next(
    blocks: nn.ModuleList, kept: Sequence[int], end: int
) -> list[tuple[nn.Module, int, int]]:
    """Return each student block with its teacher number and that of the block after it."""
    return list(zip(blocks, kept, [*kept[1:], end], strict=True))


def _plain(
    block: nn.Module, states: Sequence[Tensor], batches: Sequence[Batch], number: int
) -> bool:
    probe_BTD = states[0][:1, :8]
    kwargs = _cropped(batches[0].block_kwargs[number], probe_BTD.shape[1])
    return writes_plainly(block, probe_BTD, kwargs)


def _advanced(
    block: nn.Module, states: Sequence[Tensor], batches: Sequence[Batch], number: int
) -> list[Tensor]:
    """Return the states after a block, in fp32."""
    return [
        advance(block, state, batch.block_kwargs[number]).float()
        for state, batch in zip(states, batches, strict=True)
    ]


def _refit(
    block: nn.Module,
    states: Sequence[Tensor],
    targets: Sequence[Tensor],
    batches: Sequence[Batch],
    number: int,
    ridge: float,
) -> list[Tensor]:
    """Refit one block's writer towards the targets and return the states after it."""
    writer = writer_of(block)
    assert writer is not None
    sums = NormalEquations.empty(writer.in_features, writer.out_features, writer.weight.device)
    seen: list[Tensor] = []
    handle = writer.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    try:
        states = _advanced(block, states, batches, number)
    finally:
        handle.remove()
    for batch, input_BTF, state, target in zip(batches, seen, states, targets, strict=True):
        sums.add(input_BTF[batch.real_BT], (target - state)[batch.real_BT])
    delta_DF = sums.correction(ridge)
    writer.weight += delta_DF.to(writer.weight.dtype)
    # The writer's output is added as it is, so the new output needs no second run of the block.
    return [
        state + input_BTF.float() @ delta_DF.T
        for state, input_BTF in zip(states, seen, strict=True)
    ]


def _cropped(kwargs: dict[str, Any], length: int) -> dict[str, Any]:
    """Return a block's arguments for the first row's first `length` positions."""

    def crop(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(crop(v) for v in value)
        if isinstance(value, Tensor) and value.dim() == 4:
            return value[:1, :, :length, :length]
        if isinstance(value, Tensor) and value.dim() >= 2:
            return value[:1, :length]
        return value

    return {name: crop(value) for name, value in kwargs.items()}
