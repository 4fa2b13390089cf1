"""Closed-form healing: refit the maps that write to the residual stream after a cut.

For a block kept in the student, the teacher's hidden state at the entry of the *next kept* block
is the target. With x the input of the block's `down_proj` (weight W), h its output on the
student's own activations and t the target, the refit is ridge regression towards the old weight:

    W' = W + (t - h)^T x (x^T x + lambda I)^-1,   lambda = ridge * mean diagonal of x^T x

(ReplaceMe, Shopkhoev et al. 2025, arXiv 2505.02819, fits one linear map for a run of dropped
blocks; here it lands in an ordinary weight, and in every later block too.)

A map that lost inputs (channels, or heads) is refitted too. `down_proj` as above; the attention's
output map, and a `down_proj` with a norm after it, towards what the teacher's own map writes: t is
then that output and h the student's, which holds whatever the block does with it afterwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from potstill.models.load import blocks_of
from potstill.models.loaded import LoadedModel
from potstill.models.precision import bf16_products
from potstill.progress import Step
from potstill.shrink.blocks import writes_plainly
from potstill.shrink.parts import attention_writer_of, writer_of
from potstill.shrink.streams import Batch, TeacherStream, advance


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
        self.cross_DF.addmm_(residual_ND.float().T, input_NF.float())
        self.tokens += len(input_NF)

    def correction(self, ridge: float) -> Tensor:
        """Return delta_DF to add to the weight; float64 inside."""
        gram_FF = self.gram_FF.double()
        pull = ridge * gram_FF.diagonal().mean().clamp(min=1e-12)
        system_FF = gram_FF + pull * torch.eye(len(gram_FF), device=gram_FF.device).double()
        factor_FF = torch.linalg.cholesky(system_FF)
        return torch.cholesky_solve(self.cross_DF.double().T, factor_FF).T.float()


def gram_of(input_NF: Tensor, *, into: Tensor) -> None:
    """Add x^T x to the fp32 sum `into`."""
    exact = input_NF.dtype == torch.bfloat16
    input_NF = input_NF.float()
    # What came in bf16 loses nothing when its products are taken from bf16 and added in fp32.
    with bf16_products(enabled=exact):
        into.addmm_(input_NF.T, input_NF)


@torch.no_grad()
def heal(
    teacher: LoadedModel,
    student: LoadedModel,
    kept: Sequence[int],
    batches: Sequence[Batch],
    *,
    ridge: float,
    cascade: bool,
    step: Step | None = None,
    stream: TeacherStream | None = None,
) -> list[int]:
    """Refit the student's weights in place; return the teacher's numbers of the blocks refitted.

    `kept[i]` is the teacher's number of the student's block i. Both models' hidden states
    travel side by side. Without `cascade` only the block before each gap is refitted, and those
    that lost channels or heads. A block that does not write plainly to the residual stream is
    passed over, unless it lost inputs itself. `stream` is the teacher's over the same batches,
    where the caller has one.
    """
    stream = stream or TeacherStream(teacher, batches)
    states = [batch.hidden_BTD.float() for batch in batches]
    refitted: list[int] = []
    lost_before = False
    teacher_blocks = blocks_of(teacher.network)
    with torch.autocast(
        student.device.type, student.compute_dtype, enabled=student.compute_dtype != torch.float32
    ):
        for block, original, following in _with_next(
            blocks_of(student.network), kept, len(teacher_blocks)
        ):
            heads_cut = _narrower(attention_writer_of, block, teacher_blocks[original])
            channels_cut = _narrower(writer_of, block, teacher_blocks[original])
            lost = heads_cut or channels_cut or following > original + 1
            lost_before = lost_before or lost
            plain = (lost or (cascade and lost_before)) and _plain(block, states, batches, original)
            written = stream.written(original) if heads_cut or channels_cut else None
            if heads_cut and written is not None:
                writer = attention_writer_of(block)
                _refit_locally(block, writer, written.attention, states, batches, original, ridge)
            if plain:
                targets = stream.at(following)
                states = _refit(block, states, targets, batches, original, ridge)
            else:
                if channels_cut and written is not None:
                    wanted = written.feed_forward
                    writer = writer_of(block)
                    _refit_locally(block, writer, wanted, states, batches, original, ridge)
                states = _advanced(block, states, batches, original)
            if plain or heads_cut or channels_cut:
                refitted.append(original)
            if step is not None:
                step.advance(following - original)
    return refitted


def _narrower(
    writer_in: Callable[[nn.Module], nn.Linear | None], block: nn.Module, original: nn.Module
) -> bool:
    """Return whether a writing map of the student's block reads less than the teacher's does."""
    mine, theirs = writer_in(block), writer_in(original)
    return mine is not None and theirs is not None and mine.in_features < theirs.in_features


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


def _refit_locally(
    block: nn.Module,
    writer: nn.Linear | None,
    wanted: Sequence[Tensor],
    states: Sequence[Tensor],
    batches: Sequence[Batch],
    number: int,
    ridge: float,
) -> None:
    """Refit a map that lost inputs towards what the teacher's own map writes there.

    It holds whatever the block does with the map's output afterwards.
    """
    assert writer is not None
    sums = NormalEquations.empty(writer.in_features, writer.out_features, writer.weight.device)
    for batch, state, target in zip(batches, states, wanted, strict=True):
        seen: list[tuple[Tensor, Tensor]] = []
        handle = writer.register_forward_hook(
            lambda module, args, output, seen=seen: seen.append((args[0], output))
        )
        try:
            advance(block, state, batch.block_kwargs[number])
        finally:
            handle.remove()
        input_BTF, output_BTD = seen[0]
        residual_BTD = target.float() - output_BTD.float()
        sums.add(input_BTF[batch.real_BT], residual_BTD[batch.real_BT])
    writer.weight += sums.correction(ridge).to(writer.weight.dtype)


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
