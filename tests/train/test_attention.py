"""Attention as plain products against PyTorch's own, in value and gradient."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from potstill.train.attention import attend


def mask_of(kind: str, batch: int, length: int) -> Tensor | None:
    if kind == "causal":
        return None
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    window = causal.triu(-10)
    if kind == "window":
        return window[None, None].expand(batch, 1, -1, -1)
    # Two texts a row.
    own = torch.arange(length) >= length // 3
    return (causal & (own[:, None] == own[None, :]))[None, None].expand(batch, 1, -1, -1)


@pytest.mark.parametrize("kind", ["causal", "window", "two texts"])
@pytest.mark.parametrize(("heads", "shared"), [(6, 2), (3, 3), (4, 1)])
@pytest.mark.parametrize("length", [7, 64, 150])
def test_value_and_gradients(kind: str, heads: int, shared: int, length: int) -> None:
    generator = torch.Generator().manual_seed(length + heads)

    def states(count: int) -> Tensor:
        drawn = torch.randn(2, length, count, 16, generator=generator, dtype=torch.float64)
        return drawn.transpose(1, 2).requires_grad_()

    inputs = [states(heads), states(shared), states(shared)]
    above = torch.randn(2, length, heads, 16, generator=generator, dtype=torch.float64)
    module = SimpleNamespace(is_causal=True, num_key_value_groups=heads // shared)
    mask = mask_of(kind, 2, length)
    found = []
    for function in (attend, sdpa_attention_forward):
        value, _ = function(module, *inputs, mask, scaling=0.3)
        found.append([value, *torch.autograd.grad(value, inputs, above)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)
