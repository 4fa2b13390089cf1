"""Attention of short rows as plain products, for training on a CPU.

PyTorch's fused kernel multiplies small blocks without oneDNN's kernels, and takes longer than
these products for rows of a few hundred tokens. Nothing is kept for backward but what comes in: the
weights are formed again, a block at a time.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

NAME = "potstill"
"""What transformers knows it by, once it was made known."""

# Rows of queries at a time: what lies behind the last of them is not computed at all.
_BLOCK = 64
# From this length on the fused kernel was about as fast.
LONGEST = 1024


@cache
def make_known() -> None:
    """Let transformers' models attend by this name."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)


def attend(
    module: Any,
    query_BHTK: Tensor,
    key_BGTK: Tensor,
    value_BGTK: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Return attended_BTHK as transformers asks for it; what it cannot do PyTorch's kernel does."""
    plain = (
        not dropout
        and _is_causal(module, kwargs)
        and kwargs.get("position_bias") is None
        and kwargs.get("softcap") is None
        and kwargs.get("s_aux") is None
        and query_BHTK.shape[2] == key_BGTK.shape[2]
        and query_BHTK.shape[1] % key_BGTK.shape[1] == 0
        and (attention_mask is None or attention_mask.dtype == torch.bool)
    )
    if not plain:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found: tuple[Tensor, None] = sdpa_attention_forward(
            module,
            query_BHTK,
            key_BGTK,
            value_BGTK,
            attention_mask,
            dropout=dropout,
            scaling=scaling,
            **kwargs,
        )
        return found
    scale = query_BHTK.shape[-1] ** -0.5 if scaling is None else scaling
    attended_BTHK: Tensor = _Attention.apply(  # type: ignore[no-untyped-call]
        query_BHTK, key_BGTK, value_BGTK, attention_mask, scale
    )
    return attended_BTHK, None


class _Attention(torch.autograd.Function):
    """softmax(scale Q K^T) V, by blocks of queries; several heads may share keys and values.

    With P the weights and dO the gradient from above: dV = P^T dO, and with
    dS = P (dO V^T - rowsum(P dO V^T)), dQ = scale dS K and dK = scale dS^T Q.
    """

    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float
    ) -> Tensor:
        ctx.save_for_backward(query, key, value)
        ctx.mask, ctx.scale = mask, scale
        batch, heads, length, _ = query.shape
        key_NTK, value_NTV = key.flatten(0, 1), value.flatten(0, 1)
        found = query.new_empty(batch, length, heads, value.shape[-1])
        for rows, seen in _blocks(length, mask):
            weight_NQS = _weights(_grouped(query, key, rows), key_NTK, mask, scale, rows, seen)
            block_NQV = weight_NQS @ value_NTV[:, :seen]
            found[:, rows] = _ungrouped(block_NQV, batch, heads).transpose(1, 2)
        return found

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_BTHV: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value = ctx.saved_tensors
        mask, scale = ctx.mask, ctx.scale
        batch, heads, length, _ = query.shape
        key_NTK, value_NTV = key.flatten(0, 1), value.flatten(0, 1)
        value_NVT = value_NTV.transpose(1, 2)
        grad_BHTV = grad_BTHV.transpose(1, 2)
        grad_query = torch.empty_like(query)
        grad_key, grad_value = torch.zeros_like(key_NTK), torch.zeros_like(value_NTV)
        for rows, seen in _blocks(length, mask):
            query_NQK = _grouped(query, key, rows)
            grad_NQV = _grouped(grad_BHTV, key, rows)
            weight_NQS = _weights(query_NQK, key_NTK, mask, scale, rows, seen)
            grad_value[:, :seen] += weight_NQS.transpose(1, 2) @ grad_NQV
            slope_NQS = grad_NQV @ value_NVT[:, :, :seen]
            slope_NQS = torch._softmax_backward_data(slope_NQS, weight_NQS, -1, weight_NQS.dtype)
            block_NQK = (slope_NQS @ key_NTK[:, :seen]).mul_(scale)
            grad_query[:, :, rows] = _ungrouped(block_NQK, batch, heads)
            grad_key[:, :seen] += slope_NQS.transpose(1, 2) @ query_NQK
        grad_key = grad_key.mul_(scale).view(key.shape)
        return grad_query, grad_key, grad_value.view(value.shape), None, None


def _is_causal(module: Any, kwargs: dict[str, Any]) -> bool:
    stated = kwargs.get("is_causal")
    return bool(getattr(module, "is_causal", True) if stated is None else stated)


def _blocks(length: int, mask: Tensor | None) -> list[tuple[slice, int]]:
    """Return the blocks of queries, each with how many keys from the first on it may see."""
    ends = [min(start + _BLOCK, length) for start in range(0, length, _BLOCK)]
    starts = range(0, length, _BLOCK)
    return [
        (slice(start, end), end if mask is None else length)
        for start, end in zip(starts, ends, strict=True)
    ]


def _grouped(states_BHTK: Tensor, key: Tensor, rows: slice) -> Tensor:
    """Return some rows with those heads as one that share a key: one matrix for each key head."""
    batch, _, _, width = states_BHTK.shape
    return states_BHTK[:, :, rows].reshape(batch * key.shape[1], -1, width)


def _ungrouped(states_NQK: Tensor, batch: int, heads: int) -> Tensor:
    """Return states_BHQK again."""
    return states_NQK.view(batch, heads, -1, states_NQK.shape[-1])


def _weights(
    query_NQK: Tensor,
    key_NTK: Tensor,
    mask: Tensor | None,
    scale: float,
    rows: slice,
    seen: int,
) -> Tensor:
    """Return what each query makes of the keys that it may see; sums to 1 over them."""
    score_NQS = (query_NQK @ key_NTK[:, :seen].transpose(1, 2)).mul_(scale)
    count = rows.stop - rows.start
    shared = query_NQK.shape[1] // count
    if mask is None:
        hidden_QS = torch.ones(count, count, dtype=torch.bool).triu_(1)
        last = score_NQS.view(-1, shared, count, seen)[..., rows]
        last.masked_fill_(hidden_QS, float("-inf"))
    else:
        hidden = ~mask[:, :, rows]
        # The mask's heads are 1, or those of the queries.
        batch = mask.shape[0]
        per_head = score_NQS.view(batch, -1, count, seen)
        per_head.masked_fill_(hidden, float("-inf"))
    return torch.softmax(score_NQS, dim=-1)
