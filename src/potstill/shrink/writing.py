"""How a block writes to its residual stream, measured.

With y what a block's last linear map puts out, a block whose output is what it would be without,
plus s f(y), can be refitted in closed form where f is known:

- f(y) = y: nearly all families (s = 1; Granite multiplies by a number);
- f(y) = g * y / sqrt(mean y^2 + eps): a norm after the feed-forward part (Gemma 2 and 3, OLMo 2).

Where attention and feed-forward part read the same state (a parallel residual: GPT-NeoX, Phi,
Cohere), the attention's last map writes to the stream in just the same way.

None of that is looked up. An output is shifted, and the block's own has to shift by what the
formula says, so that nothing is ever folded wrongly in an architecture nobody thought of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from potstill.models.inner import output_of
from potstill.models.parts import attention_writer_of, weight_of, writer_of

# How far the block's output may lie from the formula's, as a share of the shift.
_TOLERANCE = 0.05
# The same for attention: a feed-forward part that reads its output hardly answers in some blocks.
_BESIDE = 1e-3
# Root mean square at which a norm's eps shows (it is between 1e-8 and 1e-5 everywhere).
_SMALL = 1e-3


@dataclass(frozen=True)
class RMSNorm:
    """A norm g * y / sqrt(mean y^2 + eps) whose gain g is its weight plus `offset` (Gemma: 1)."""

    module: nn.Module
    offset: float
    eps: float

    @property
    def gain_D(self) -> Tensor:
        """The gain g, in fp32."""
        weight: Any = self.module.weight
        gain_D: Tensor = weight.float() + self.offset
        return gain_D

    def set_gain(self, gain_D: Tensor) -> None:
        """Make this the gain."""
        weight: Any = self.module.weight
        weight.copy_(gain_D - self.offset)

    def unit(self, output_ND: Tensor) -> Tensor:
        """Return y / sqrt(mean y^2 + eps)."""
        output_ND = output_ND.float()
        return output_ND * (output_ND.pow(2).mean(-1, keepdim=True) + self.eps).rsqrt()

    def __call__(self, output_ND: Tensor) -> Tensor:
        """Return what the norm makes of a map's output, in fp32."""
        return self.gain_D * self.unit(output_ND)


@dataclass(frozen=True)
class Writing:
    """The linear maps whose outputs a block adds to its own, times `scale`, after `norm` if any.

    The feed-forward part's comes last. With a norm there is only that one.
    """

    maps: tuple[nn.Module, ...]
    scale: float = 1.0
    norm: RMSNorm | None = None

    @property
    def bias(self) -> Tensor | None:
        """The bias of the feed-forward part's map, which can stand for all the maps' biases."""
        last: Any = self.maps[-1]
        bias: Tensor | None = last.bias
        return bias

    @property
    def widths(self) -> list[int]:
        """How many inputs each map has."""
        return [weight_of(writer).shape[1] for writer in self.maps]


@torch.no_grad()
def writing_of(block: nn.Module, hidden_BTD: Tensor, kwargs: dict[str, Any]) -> Writing | None:
    """Return how a block writes, as measured on a few states; None where no formula holds."""
    writer = writer_of(block)
    if writer is None:
        return None
    run = _Run(block, hidden_BTD, kwargs)
    scale = run.scale_of(writer, _as_it_is)
    if scale is not None:
        attention = attention_writer_of(block)
        if attention is None or run.scale_of(attention, _as_it_is, _BESIDE) != scale:
            return Writing((writer,), scale)
        return Writing((attention, writer), scale)
    for norm in filter(None, map(_rms_norm, run.readers(writer))):
        scale = run.scale_of(writer, norm)
        if scale is not None:
            return Writing((writer,), scale, norm)
    return None


def _as_it_is(output_BTD: Tensor) -> Tensor:
    return output_BTD


class _Run:
    """One block on a few states, run again with this or that changed."""

    def __init__(self, block: nn.Module, hidden_BTD: Tensor, kwargs: dict[str, Any]) -> None:
        self._block, self._hidden_BTD, self._kwargs = block, hidden_BTD, kwargs

    def _output(self) -> Tensor:
        return output_of(self._block(self._hidden_BTD, **self._kwargs)).float()

    def scale_of(
        self,
        writer: nn.Module,
        form: Callable[[Tensor], Tensor],
        tolerance: float = _TOLERANCE,
    ) -> float | None:
        """Return s where the block adds s f(y) of a map's output y, None where it does not."""
        outputs: list[Tensor] = []
        handle = writer.register_forward_hook(lambda module, args, output: outputs.append(output))
        try:
            plain_BTD = self._output()
        finally:
            handle.remove()
        if len(outputs) != 1 or outputs[0].shape != self._hidden_BTD.shape:
            return None
        output_BTD = outputs[0].float()
        generator = torch.Generator().manual_seed(0)
        shift_BTD = torch.randn(output_BTD.shape, generator=generator).to(output_BTD)
        # A norm hides shifts that are far smaller or larger than what it is given.
        shift_BTD = shift_BTD * (float(output_BTD.pow(2).mean().sqrt()) or 1.0)
        handle = writer.register_forward_hook(lambda module, args, output: output + shift_BTD)
        try:
            moved_BTD = self._output() - plain_BTD
        finally:
            handle.remove()
        expected_BTD = form(output_BTD + shift_BTD) - form(output_BTD)
        scale = float((moved_BTD * expected_BTD).sum() / expected_BTD.pow(2).sum())
        # A number is not to be off by the last digit of a measurement.
        scale = float(f"{scale:.3g}")
        error = (moved_BTD - scale * expected_BTD).norm() / (scale * expected_BTD).norm()
        return scale if bool(error < tolerance) else None

    def readers(self, writer: nn.Module) -> list[nn.Module]:
        """Return the modules with one weight a dimension that are given just a map's output."""
        outputs: list[Tensor] = []
        found: list[nn.Module] = []

        def note(module: nn.Module, args: tuple[Any, ...]) -> None:
            if outputs and args and isinstance(args[0], Tensor):
                same = args[0].shape == outputs[0].shape and torch.equal(args[0], outputs[0])
                found.extend([module] if same else [])

        width = self._hidden_BTD.shape[-1]
        handles: list[Any] = [
            module.register_forward_pre_hook(note)
            for module in self._block.modules()
            if getattr(getattr(module, "weight", None), "shape", None) == (width,)
        ]
        handles.append(
            writer.register_forward_hook(lambda module, args, output: outputs.append(output))
        )
        try:
            self._output()
        finally:
            for handle in handles:
                handle.remove()
        return found


def _rms_norm(module: nn.Module) -> RMSNorm | None:
    """Return the formula of a module, as measured; None where it looks like no such norm."""
    weight: Any = module.weight
    ones_1D = torch.ones(1, len(weight), device=weight.device)
    # Of the root mean square 1 nearly nothing is lost to eps, of a small one much.
    large_D, small_D = (module(c * ones_1D)[0].float() for c in (1e3, _SMALL))
    offset = float((large_D - weight.float()).mean())
    gain = float(large_D.abs().sum())
    affine = bool(((large_D - weight.float() - round(offset)).abs() < 1e-3).all())
    if gain == 0 or not affine:
        return None
    share = float((small_D * large_D).sum() / large_D.pow(2).sum())
    eps = _SMALL**2 * (1 / share**2 - 1) if 0 < share < 1 else 0.0
    return RMSNorm(module, float(round(offset)), eps)
