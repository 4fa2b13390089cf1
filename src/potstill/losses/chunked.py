"""The distillation loss from hidden states, without [tokens, vocabulary] in memory.

Logits of student and teacher exist for one chunk of rows at a time, as many as a memory budget
allows, so that matrix products are large. Within a chunk the arithmetic goes a few rows at a
time, which stay in a CPU's cache, and leaves the gradient where the student's logits were.
Backward only multiplies by what comes from above. Matrix products run in the compute dtype;
softmax, sums and the head's gradient are fp32.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.distributed.tensor import DTensor, Partial

from potstill.losses.divergence import FORWARD_KL, Divergence
from potstill.losses.part import LossScales, loss_of_part, part_function
from potstill.losses.row_terms import check_pair, term_of
from potstill.losses.targets import DenseTargets, Targets
from potstill.losses.teacher import TeacherHead
from potstill.losses.workspace import Workspace
from potstill.models.head import Head
from potstill.models.vocabulary import VocabularyMap

# Bytes that a chunk's logits may take, of student and teacher together. Larger products are
# faster until they are some hundred rows high.
_CPU_BUDGET = 256 * 2**20
_GPU_BUDGET = 2**30
# Yet on a CPU no fewer rows than this, which keep the products with a large head fast.
_CPU_ROWS = 256
# Elements that one thread of a CPU works on at a time: what its cache holds with their copies.
_CPU_ELEMENTS = 2**18
# Rows of the head whose gradient is formed at a time from bf16 products and added up in fp32.
_HEAD_ROWS = 2048


@dataclass(frozen=True)
class LossSums:
    """What was summed over rows, in nats: scalars without gradient, on the rows' device.

    `divergence_sum` is that of the two distributions at the loss's temperature, without its
    factor T^2, and 0 without targets; `ce_sum` is at temperature 1.
    """

    divergence_sum: Tensor
    ce_sum: Tensor


@dataclass(frozen=True)
class _LossPlan:
    """What the loss needs besides the tensors that have gradients."""

    head: Head
    targets: Targets | None
    divergence: Divergence
    label_N: Tensor
    temperature: float
    weights: LossScales
    normaliser: float
    rows: int
    dtype: torch.dtype
    workspace: Workspace
    earlier_VD: Tensor | None


def distillation_loss(
    hidden_ND: Tensor,
    student_head: Head,
    targets: Targets | None,
    label_N: Tensor,
    *,
    normaliser: float,
    divergence: Divergence = FORWARD_KL,
    temperature: float = 1.0,
    cross_entropy_weight: float = 0.0,
    vocabulary: VocabularyMap | None = None,
    compute_dtype: torch.dtype | None = None,
    memory_bytes: int | None = None,
    workspace: Workspace | None = None,
    earlier_VD: Tensor | None = None,
) -> tuple[Tensor, LossSums]:
    """Return the loss (a scalar with gradients) and what it sums.

    The loss is the sum over rows of (1 - w) T^2 D(p_T, q_T) + w CE, divided by `normaliser`,
    the number of response tokens in the whole optimiser step. p_T and q_T are the softmax of
    the logits divided by the temperature T; T^2 keeps the gradient's size (Hinton et al. 2015,
    arXiv 1503.02531, section 2). w is `cross_entropy_weight` and CE the student's negative
    log-probability of `label_N` at temperature 1; without targets it is all there is.

    With a `vocabulary` dense targets are first brought to the student's tokens (a removed
    token's mass goes to its receiver) and then tempered, so that the student that fits them at
    any T is the same one.

    Gradients flow to `hidden_ND` and to the head's weight and bias; a sharded head (FSDP2) is
    gathered once, and its gradient summed over the processes. `compute_dtype` is that of the
    products, by default hidden_ND's. `memory_bytes` is what a chunk's logits may take: it changes
    memory and speed, and the result by rounding alone. `workspace` is memory to use again from
    call to call. `earlier_VD` is the gradient of the head's weight that earlier calls gave, in
    fp32: it is added to in place and handed on as this call's, so that there are not two of them;
    the loss has to be differentiated as it is then. Raises PotstillError where the targets cannot
    give the divergence, or have more tokens than the student.
    """
    dtype = compute_dtype or hidden_ND.dtype
    if cross_entropy_weight == 1.0:
        targets = None
    tokens = min(student_head.tokens or 2**62, student_head.weight_VD.shape[0])
    if isinstance(targets, DenseTargets) and not isinstance(targets.head, TeacherHead):
        arranged = TeacherHead.of(targets.head, vocabulary, dtype=dtype)
        targets = DenseTargets(targets.hidden_ND, arranged)
    if targets is not None:
        check_pair(divergence, targets, temperature, tokens)
    plan = _LossPlan(
        head=student_head,
        targets=targets,
        divergence=divergence,
        label_N=label_N,
        temperature=temperature,
        weights=LossScales(
            scale=student_head.scale,
            softcap=student_head.softcap,
            temperature=temperature,
            cross_entropy=cross_entropy_weight if targets is not None else 1.0,
        ),
        normaliser=normaliser,
        rows=_rows_in_chunk(hidden_ND, targets, tokens, dtype, memory_bytes),
        dtype=dtype,
        workspace=workspace or Workspace(),
        earlier_VD=earlier_VD,
    )
    # Padding rows of the head get no logit at all, which is what -inf means.
    weight_VD = _first(_gathered(student_head.weight_VD), tokens)
    bias_V = student_head.bias_V
    if bias_V is not None:
        bias_V = _first(_gathered(bias_V), tokens)
    loss, divergence_sum, ce_sum = _ChunkedLoss.apply(  # type: ignore[no-untyped-call]
        hidden_ND, weight_VD, bias_V, plan
    )
    return loss, LossSums(divergence_sum, ce_sum)


class _ChunkedLoss(torch.autograd.Function):
    """Forms the gradients in forward, chunk by chunk; backward hands them out once."""

    @staticmethod
    def forward(
        ctx: Any, hidden_ND: Tensor, weight_VD: Tensor, bias_V: Tensor | None, plan: _LossPlan
    ) -> tuple[Tensor, Tensor, Tensor]:
        for_hidden, for_weight, for_bias, _ = ctx.needs_input_grad
        grad_ND = torch.zeros_like(hidden_ND) if for_hidden else None
        grad_VD = plan.earlier_VD
        grad_V = _fp32_zeros(bias_V) if for_bias and bias_V is not None else None
        product_VD = plan.workspace.converted("head", weight_VD, plan.dtype)
        product_V = None if bias_V is None else bias_V.to(plan.dtype)
        head = replace(plan.head, weight_VD=product_VD, bias_V=product_V)
        sums = torch.zeros(3, device=hidden_ND.device)
        # The products take this factor in for nothing, a pass over the logits would not.
        share = 1.0 / plan.normaliser
        for start in range(0, len(hidden_ND), plan.rows):
            rows = slice(start, start + plan.rows)
            chunk_ND = hidden_ND[rows].to(plan.dtype)
            raw_NV = plan.workspace.products("student", chunk_ND, head)
            sums += _chunk(raw_NV, rows, plan, grad_V, any(ctx.needs_input_grad))
            if grad_ND is not None:
                grad_ND[rows] = (raw_NV @ product_VD).mul_(share)
            if for_weight:
                grad_VD = _added_product(grad_VD, raw_NV, chunk_ND, share)
        if for_weight and grad_VD is None:
            grad_VD = _fp32_zeros(weight_VD)
        ctx.gradients, ctx.handed_on = (grad_ND, grad_VD, grad_V), plan.earlier_VD is not None
        ctx.dtypes = (hidden_ND.dtype, weight_VD.dtype, None if bias_V is None else bias_V.dtype)
        loss, divergence_sum, ce_sum = sums.unbind()
        loss = loss / plan.normaliser
        ctx.mark_non_differentiable(divergence_sum, ce_sum)
        return loss, divergence_sum.clone(), ce_sum.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_loss: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        if ctx.gradients is None:
            raise RuntimeError("the chunked loss can be differentiated only once")
        gradients, ctx.gradients = ctx.gradients, None
        # Looking at a number is free on a CPU, and going through all gradients is not.
        unscaled = grad_loss.device.type == "cpu" and float(grad_loss) == 1.0
        if ctx.handed_on and grad_loss.device.type == "cpu" and not unscaled:
            raise RuntimeError("a head's gradient that is handed on cannot be scaled")
        scaled = [
            None if gradient is None else (gradient if unscaled else gradient.mul_(grad_loss))
            for gradient in gradients
        ]
        kept = zip(scaled, ctx.dtypes, strict=True)
        return (
            *(None if gradient is None else gradient.to(dtype) for gradient, dtype in kept),
            None,
        )


def _chunk(
    raw_NV: Tensor, rows: slice, plan: _LossPlan, grad_V: Tensor | None, want_gradient: bool
) -> Tensor:
    """Return (loss, divergence, CE) summed over these rows, from the head's products with them.

    The products are replaced by the gradient of the loss's sum with respect to them; its sum over
    rows, divided by the normaliser, is added to `grad_V`. Either only where it is wanted.
    """
    sums = torch.zeros(3, device=raw_NV.device)
    label_N, term = plan.label_N[rows], None
    if plan.targets is not None:
        term = term_of(plan.targets, rows, plan.divergence, plan.temperature, plan.workspace)
    loss_of_part = part_function(raw_NV.device)
    few = _rows_at_a_time(raw_NV)
    for start in range(0, len(raw_NV), few):
        part = slice(start, start + few)
        part_term = None if term is None else term.rows(part)
        sums += loss_of_part(raw_NV[part], label_N[part], part_term, plan.weights, want_gradient)
    if want_gradient and grad_V is not None:
        grad_V.add_(raw_NV.sum(dim=0, dtype=torch.float32), alpha=1.0 / plan.normaliser)
    return sums


def _added_product(
    grad_VD: Tensor | None, grad_NV: Tensor, chunk_ND: Tensor, share: float
) -> Tensor:
    """Return the head's gradient in fp32 with share * grad_NV^T chunk_ND added, in place.

    A CPU returns products of bf16 in bf16: some rows of the head at a time they stay in its cache.
    A GPU adds fp32 sums to fp32 in the product itself.
    """
    first = grad_VD is None
    if grad_VD is None:
        shape = (grad_NV.shape[1], chunk_ND.shape[1])
        grad_VD = torch.empty(shape, dtype=torch.float32, device=grad_NV.device)
    if grad_NV.dtype == grad_VD.dtype:
        return grad_VD.addmm_(grad_NV.T, chunk_ND, alpha=share, beta=0 if first else 1)
    if grad_NV.is_cuda and hasattr(torch.ops.aten.addmm, "dtype_out"):
        torch.ops.aten.addmm.dtype_out(
            grad_VD,
            grad_NV.T,
            chunk_ND,
            torch.float32,
            beta=0 if first else 1,
            alpha=share,
            out=grad_VD,
        )
        return grad_VD
    for start in range(0, len(grad_VD), _HEAD_ROWS):
        block = slice(start, start + _HEAD_ROWS)
        product_BD = grad_NV[:, block].T @ chunk_ND
        if first:
            torch.mul(product_BD.float(), share, out=grad_VD[block])
        else:
            grad_VD[block].add_(product_BD, alpha=share)
    return grad_VD


def _rows_at_a_time(raw_NV: Tensor) -> int:
    """Return how many rows are worked on at once: on a CPU at least one for each thread."""
    if raw_NV.device.type != "cpu":
        return len(raw_NV)
    threads = torch.get_num_threads()
    return threads * max(1, _CPU_ELEMENTS // raw_NV.shape[1])


def _fp32_zeros(like: Tensor) -> Tensor:
    return torch.zeros(like.shape, dtype=torch.float32, device=like.device)


def _gathered(parameter: Tensor) -> Tensor:
    """Return the whole of a sharded parameter.

    Each process has rows of its own, so the gradient of its part is the sum over all processes.
    """
    if not isinstance(parameter, DTensor):
        return parameter
    return parameter.full_tensor(grad_placements=[Partial()] * parameter.device_mesh.ndim)


def _first(parameter: Tensor, tokens: int) -> Tensor:
    """Return the rows of real tokens. Slicing would copy the gradient, so it is done if needed."""
    return parameter if len(parameter) == tokens else parameter[:tokens]


def _rows_in_chunk(
    hidden_ND: Tensor,
    targets: Targets | None,
    tokens: int,
    dtype: torch.dtype,
    memory_bytes: int | None,
) -> int:
    """Return how many rows fit into the budget, evened out over the chunks they make."""
    budget = memory_bytes or (_CPU_BUDGET if hidden_ND.device.type == "cpu" else _GPU_BUDGET)
    if isinstance(targets, DenseTargets) and isinstance(targets.head, TeacherHead):
        tokens += targets.head.tokens
    # A whole chunk at once, where nothing is compiled, takes about five copies in fp32.
    plain = hidden_ND.device.type != "cpu" and part_function(hidden_ND.device) is loss_of_part
    element = dtype.itemsize + (10 if plain else 0)
    fewest = _CPU_ROWS if hidden_ND.device.type == "cpu" and memory_bytes is None else 1
    most = max(fewest, budget // (tokens * element))
    chunks = max(1, -(-len(hidden_ND) // most))
    return max(1, -(-len(hidden_ND) // chunks))
