"""What is done with a few rows of logits: loss, and the gradient in the logits' place.

On a CPU that is a sequence of operations on rows that stay in its cache. On a GPU the same function
is compiled, so that it goes through the logits a few times and not some twenty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from potstill.losses.divergence import cross_entropy
from potstill.losses.forward_kl import forward_kl_and_slope
from potstill.losses.row_terms import DenseTerm, RowsTerm
from potstill.losses.teacher import capped, in_fp32


@dataclass(frozen=True)
class LossScales:
    """The student's scale and soft cap, the temperature, and cross-entropy's weight."""

    scale: float
    softcap: float | None
    temperature: float
    cross_entropy: float


LossOfPart = Callable[[Tensor, Tensor, RowsTerm | None, LossScales, bool], Tensor]


def part_function(device: torch.device) -> LossOfPart:
    """Return `loss_of_part`, compiled where a GPU and a compiler for it are."""
    return _on_gpu if device.type == "cuda" and _can_compile() else loss_of_part


def loss_of_part(
    raw_NV: Tensor, label_N: Tensor, term: RowsTerm | None, weights: LossScales, want_gradient: bool
) -> Tensor:
    """Return (loss, divergence, CE) summed over these rows, from the head's products `raw_NV`.

    Where it is wanted, the products are replaced by the gradient of the loss's sum.
    """
    if _is_plain_forward_kl(raw_NV, term, weights):
        assert isinstance(term, DenseTerm)
        found = _forward_kl(raw_NV, label_N, term, weights, want_gradient)
        if found is not None:
            return found
    weight, temperature = weights.cross_entropy, weights.temperature
    logits_NV = capped(in_fp32(raw_NV), weights.scale, weights.softcap)
    logq_NV = torch.log_softmax(logits_NV, dim=-1)
    ce = cross_entropy(logq_NV, label_N).sum()
    value, grad_NV = torch.zeros_like(ce), None
    if term is not None:
        tempered_NV = logq_NV
        if temperature != 1.0:
            tempered_NV = torch.log_softmax(logits_NV / temperature, dim=-1)
        value, grad_NV = term(tempered_NV, want_gradient)
    loss = (1.0 - weight) * temperature**2 * value
    if weight > 0.0:
        loss = loss + weight * ce
    if want_gradient:
        # d(T^2 D)/dz = T times the slope with respect to z / T
        share = (1.0 - weight) * temperature
        if grad_NV is not None and share != 1.0:
            grad_NV = grad_NV.mul_(share)
        if weight > 0.0:
            ce_NV = _cross_entropy_slope(logq_NV, label_N, weight)
            grad_NV = ce_NV if grad_NV is None else grad_NV.add_(ce_NV)
        assert grad_NV is not None
        raw_NV.copy_(_through_cap(grad_NV, logits_NV, weights))
    return torch.stack([loss, value, ce])


def _is_plain_forward_kl(raw_NV: Tensor, term: RowsTerm | None, weights: LossScales) -> bool:
    """Return whether the short way may be tried: one temperature of 1, and one vocabulary."""
    return (
        raw_NV.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and isinstance(term, DenseTerm)
        and term.divergence.kind == "forward_kl"
        and weights.temperature == term.temperature == 1.0
        and term.products.raw_NK.shape == raw_NV.shape
    )


def _forward_kl(
    raw_NV: Tensor, label_N: Tensor, term: DenseTerm, weights: LossScales, want_gradient: bool
) -> Tensor | None:
    """Return what `loss_of_part` does, None where it has to go the general way."""
    weight = weights.cross_entropy
    logits_NV = capped(in_fp32(raw_NV), weights.scale, weights.softcap)
    found = forward_kl_and_slope(
        term.products.logits(), logits_NV, label_N, cross_entropy=weight, slope=want_gradient
    )
    if found is None:
        return None
    value, ce, grad_NV = found
    if grad_NV is not None:
        raw_NV.copy_(_through_cap(grad_NV, logits_NV, weights))
    return torch.stack([(1.0 - weight) * value + weight * ce, value, ce])


@cache
def _can_compile() -> bool:
    return find_spec("triton") is not None


@cache
def _compiled() -> LossOfPart:
    return torch.compile(loss_of_part)


def _on_gpu(
    raw_NV: Tensor, label_N: Tensor, term: RowsTerm | None, weights: LossScales, want_gradient: bool
) -> Tensor:
    """Call the compiled function, which is compiled once for any number of rows."""
    for tensor in (raw_NV, label_N, *([] if term is None else term.tensors())):
        torch._dynamo.maybe_mark_dynamic(tensor, 0)
    # A kernel for any vocabulary is slower than one for each (measured on an H100 with 151,936
    # tokens: 48 ms a call against 40).
    torch._dynamo.mark_static(raw_NV, 1)
    return _compiled()(raw_NV, label_N, term, weights, want_gradient)


def _cross_entropy_slope(logq_NV: Tensor, label_N: Tensor, weight: float) -> Tensor:
    """Return weight * (q - onehot), in place of logq_NV."""
    share_NV = logq_NV.exp_().mul_(weight)
    minus_N1 = share_NV.new_full((len(label_N), 1), -weight)
    return share_NV.scatter_add_(1, label_N.unsqueeze(1), minus_N1)


def _through_cap(grad_NV: Tensor, logits_NV: Tensor, weights: LossScales) -> Tensor:
    """Return the gradient before scale and soft cap, from that after them, in place.

    d cap tanh(u / cap) / du = 1 - (z / cap)^2 with z the capped logit.
    """
    if weights.softcap is not None:
        slope_NV = logits_NV.div(weights.softcap).square_().neg_().add_(1.0)
        grad_NV = grad_NV.mul_(slope_NV)
    if weights.scale != 1.0:
        grad_NV = grad_NV.mul_(weights.scale)
    return grad_NV
