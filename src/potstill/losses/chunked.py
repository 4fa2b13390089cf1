"""The distillation loss from hidden states, without [tokens, vocabulary] in memory.

Logits of student and teacher exist for one chunk of rows at a time. The gradient is formed
there too, while they are in cache, so that backward only multiplies by what comes from above.
Matrix products run in the compute dtype; log-softmax, sums and the head's gradient are fp32.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from potstill.errors import PotstillError
from potstill.losses.divergence import cross_entropy, forward_kl
from potstill.losses.targets import DenseTargets
from potstill.losses.teacher import TeacherHead, capped
from potstill.models.head import Head
from potstill.models.vocabulary import VocabularyMap

# Elements of a chunk's logits. On a CPU larger chunks fall out of the cache and smaller ones
# add to the head's gradient too often; a GPU needs far more to be busy.
_CPU_ELEMENTS = 4 * 2**20
_GPU_ELEMENTS = 64 * 2**20


@dataclass(frozen=True)
class LossSums:
    """What was summed over rows, in nats: scalars without gradient, on the rows' device.

    `kl_sum` is that of the two distributions at the loss's temperature, without its factor
    T^2, and 0 without targets; `ce_sum` is at temperature 1.
    """

    kl_sum: Tensor
    ce_sum: Tensor


@dataclass(frozen=True)
class _Plan:
    """What the loss needs besides the tensors that have gradients."""

    head: Head
    targets: DenseTargets | None
    label_N: Tensor
    temperature: float
    cross_entropy_weight: float
    normaliser: float
    rows: int
    dtype: torch.dtype


def distillation_loss(
    hidden_ND: Tensor,
    student_head: Head,
    targets: DenseTargets | None,
    label_N: Tensor,
    *,
    normaliser: float,
    temperature: float = 1.0,
    cross_entropy_weight: float = 0.0,
    vocabulary: VocabularyMap | None = None,
    compute_dtype: torch.dtype | None = None,
    chunk_rows: int | None = None,
) -> tuple[Tensor, LossSums]:
    """Return the loss (a scalar with gradients) and what it sums.

    The loss is the sum over rows of (1 - w) T^2 KL(p_T || q_T) + w CE, divided by `normaliser`,
    the number of response tokens in the whole optimiser step. p_T and q_T are the softmax of
    the logits divided by the temperature T; T^2 keeps the gradient's size (Hinton et al. 2015,
    arXiv 1503.02531, section 2). w is `cross_entropy_weight` and CE the student's negative
    log-probability of `label_N` at temperature 1.

    With a `vocabulary` the teacher's distribution is first brought to the student's tokens (a
    removed token's mass goes to its receiver) and then tempered, so that the student that
    fits it at any T is the same one.

    Gradients flow to `hidden_ND` and to the head's weight and bias. `compute_dtype` is that of
    the products, by default hidden_ND's. Raises PotstillError where the teacher has more tokens
    than the student and there is no vocabulary map.
    """
    dtype = compute_dtype or hidden_ND.dtype
    if targets is not None and not isinstance(targets.head, TeacherHead):
        targets = DenseTargets(
            targets.hidden_ND, TeacherHead.of(targets.head, vocabulary, dtype=dtype)
        )
    tokens = min(student_head.tokens or 2**62, student_head.weight_VD.shape[0])
    wide = targets.head.width if targets and isinstance(targets.head, TeacherHead) else 0
    if wide > tokens:
        raise PotstillError(
            f"the teacher has {wide} tokens and the student {tokens}: their "
            "tokenizers differ; take a student with the teacher's tokenizer, or let "
            "shrink.vocabulary make one"
        )
    plan = _Plan(
        head=student_head,
        targets=targets,
        label_N=label_N,
        temperature=temperature,
        cross_entropy_weight=cross_entropy_weight if targets is not None else 1.0,
        normaliser=normaliser,
        rows=chunk_rows or _rows_in_chunk(tokens, hidden_ND.device),
        dtype=dtype,
    )
    # Padding rows of the head get no logit at all, which is what -inf means.
    weight_VD = student_head.weight_VD[:tokens]
    bias_V = None if student_head.bias_V is None else student_head.bias_V[:tokens]
    loss, kl_sum, ce_sum = _ChunkedLoss.apply(  # type: ignore[no-untyped-call]
        hidden_ND, weight_VD, bias_V, plan
    )
    return loss, LossSums(kl_sum, ce_sum)


class _ChunkedLoss(torch.autograd.Function):
    """Forms the gradients in forward, chunk by chunk; backward hands them out once."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, plan: _Plan
    ) -> tuple[Tensor, Tensor, Tensor]:
        for_hidden, for_weight, for_bias, _ = ctx.needs_input_grad
        grad_ND = torch.zeros_like(hidden_ND) if for_hidden else None
        grad_VD = _fp32_zeros(weight_VD) if for_weight else None
        grad_V = _fp32_zeros(bias_V) if for_bias and bias_V is not None else None
        product_VD = weight_VD.to(plan.dtype)
        product_V = None if bias_V is None else bias_V.to(plan.dtype)
        sums = torch.zeros(3, device=hidden_ND.device)
        for start in range(0, len(hidden_ND), plan.rows):
            rows = slice(start, start + plan.rows)
            chunk_ND = hidden_ND[rows].to(plan.dtype)
            raw_NV = F.linear(chunk_ND, product_VD, product_V).float()
            chunk_sums, grad_NV = _chunk(raw_NV, rows, plan, any(ctx.needs_input_grad))
            sums += chunk_sums
            if grad_NV is None:
                continue
            if grad_V is not None:
                grad_V += grad_NV.sum(dim=0)
            grad_NV = grad_NV.to(plan.dtype)
            if grad_ND is not None:
                grad_ND[rows] = grad_NV @ product_VD
            if grad_VD is not None:
                grad_VD += grad_NV.T @ chunk_ND
        ctx.gradients = (grad_ND, grad_VD, grad_V)
        ctx.dtypes = (hidden_ND.dtype, weight_VD.dtype, None if bias_V is None else bias_V.dtype)
        loss, kl_sum, ce_sum = sums.unbind()
        loss = loss / plan.normaliser
        ctx.mark_non_differentiable(kl_sum, ce_sum)
        return loss, kl_sum.clone(), ce_sum.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the chunked loss can be differentiated only once")
        gradients, ctx.gradients = ctx.gradients, None
        scaled = [
            None if gradient is None else gradient.mul_(grad_loss).to(dtype)
            for gradient, dtype in zip(gradients, ctx.dtypes, strict=True)
        ]
        return (*scaled, None)


def _chunk(
    raw_NV: Tensor, rows: slice, plan: _Plan, want_gradient: bool
) -> tuple[Tensor, Tensor | None]:
    """Return (loss, KL, CE) summed over these rows, and the gradient of loss / normaliser.

    The gradient is with respect to the raw products: before the head's scale and soft cap.
    """
    logits_NV = capped(raw_NV, plan.head)
    label_N = plan.label_N[rows]
    weight, temperature = plan.cross_entropy_weight, plan.temperature
    logq_NV = torch.log_softmax(logits_NV, dim=-1)
    ce = cross_entropy(logq_NV, label_N).sum()
    grad_NV = None
    kl = torch.zeros_like(ce)
    if plan.targets is not None:
        tempered_NV = logq_NV
        if temperature != 1.0:
            tempered_NV = torch.log_softmax(logits_NV / temperature, dim=-1)
        kl, grad_NV = _kl_term(tempered_NV, plan.targets, rows, temperature, want_gradient)
        if grad_NV is not None:
            # d(T^2 KL)/dz = T (q_T - p_T)
            grad_NV *= (1.0 - weight) * temperature
    loss = (1.0 - weight) * temperature**2 * kl if weight < 1.0 else torch.zeros_like(kl)
    if weight > 0.0:
        loss = loss + weight * ce
        if want_gradient:
            # dCE/dz = q - onehot
            share_NV = logq_NV.exp_().mul_(weight)
            share_NV.scatter_add_(
                1, label_N.unsqueeze(1), share_NV.new_full((len(label_N), 1), -weight)
            )
            grad_NV = share_NV if grad_NV is None else grad_NV.add_(share_NV)
    if grad_NV is not None:
        grad_NV = _through_cap(grad_NV, logits_NV, plan.head).div_(plan.normaliser)
    return torch.stack([loss, kl, ce]), grad_NV


def _kl_term(
    student_logp_NV: Tensor,
    targets: DenseTargets,
    rows: slice,
    temperature: float,
    want_gradient: bool,
) -> tuple[Tensor, Tensor | None]:
    """Return the summed KL(p_T || q_T) of these rows and q_T - p_T.

    The student's columns past the teacher's are tokens without teacher mass.
    """
    assert isinstance(targets.head, TeacherHead)
    logits_NK = targets.head.logits(targets.hidden_ND[rows])
    if temperature != 1.0:
        logits_NK = logits_NK / temperature
    teacher_logp_NK = torch.log_softmax(logits_NK, dim=-1)
    width = teacher_logp_NK.shape[-1]
    kl = forward_kl(teacher_logp_NK, student_logp_NV[:, :width]).sum()
    if not want_gradient:
        return kl, None
    gap_NV = student_logp_NV.exp()
    gap_NV[:, :width] -= teacher_logp_NK.exp_()
    return kl, gap_NV


def _through_cap(grad_NV: Tensor, logits_NV: Tensor, head: Head) -> Tensor:
    """Return the gradient before scale and soft cap, from that after them, in place.

    d cap tanh(u / cap) / du = 1 - (z / cap)^2 with z the capped logit.
    """
    if head.softcap is not None:
        slope_NV = logits_NV.div(head.softcap).square_().neg_().add_(1.0)
        grad_NV = grad_NV.mul_(slope_NV)
    if head.scale != 1.0:
        grad_NV = grad_NV.mul_(head.scale)
    return grad_NV


def _fp32_zeros(like: Tensor) -> Tensor:
    return torch.zeros(like.shape, dtype=torch.float32, device=like.device)


def _rows_in_chunk(vocabulary: int, device: torch.device) -> int:
    elements = _CPU_ELEMENTS if device.type == "cpu" else _GPU_ELEMENTS
    return max(32, elements // vocabulary)
