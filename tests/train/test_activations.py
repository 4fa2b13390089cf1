"""What an activation function gave is not kept for backward, and the gradient does not change."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from potstill.train.activations import recomputed_activations

ACTIVATIONS: list[Callable[[Tensor], Tensor]] = [
    functional.silu,
    functional.gelu,
    lambda x: functional.gelu(x, approximate="tanh"),
    functional.relu,
]


class GatedLayer(nn.Module):
    """down(act(gate(x)) * up(x)) as in Llama, or up * act as in Phi-3, or no `up` as in GPT-2."""

    def __init__(self, activation: Callable[[Tensor], Tensor], gated: str) -> None:
        super().__init__()
        self.gate, self.up, self.down = nn.Linear(8, 24), nn.Linear(8, 24), nn.Linear(24, 8)
        self.activation, self.gated = activation, gated

    def forward(self, x_BTD: Tensor) -> Tensor:
        """Return the layer's output."""
        active = self.activation(self.gate(x_BTD))
        if self.gated == "left":
            active = active * self.up(x_BTD)
        elif self.gated == "right":
            active = self.up(x_BTD) * active
        output: Tensor = self.down(active)
        return output


def gradients(layer: nn.Module, x_BTD: Tensor, context: Any) -> list[Tensor]:
    with context:
        output = layer(x_BTD)
    output.square().sum().backward()
    found = [p.grad.clone() for p in layer.parameters() if p.grad is not None]
    layer.zero_grad()
    return found


@pytest.mark.parametrize("gated", ["left", "right", "no"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradients_are_the_same_to_the_last_bit(
    activation: Callable[[Tensor], Tensor], gated: str
) -> None:
    layer, x_BTD = GatedLayer(activation, gated), torch.randn(2, 5, 8)
    kept = gradients(layer, x_BTD, nullcontext())
    again = gradients(layer, x_BTD, recomputed_activations())
    assert len(kept) == (4 if gated == "no" else 6)
    assert all(torch.equal(a, b) for a, b in zip(kept, again, strict=True))


@pytest.mark.parametrize("swapped", [False, True])
def test_only_gate_and_up_are_kept(swapped: bool) -> None:
    gate, up = torch.randn(4, 6, requires_grad=True), torch.randn(4, 6, requires_grad=True)
    down = torch.randn(6, 2)
    with recomputed_activations():
        active = functional.silu(gate * 1.0)
        product = up * active if swapped else active * up
        output = product @ down.requires_grad_()
    # The product's memory is free as soon as the forward pass lets go of it.
    storage = torch.multiprocessing.reductions.StorageWeakRef(product.untyped_storage())
    del product
    assert storage.expired()
    output.sum().backward()
    assert gate.grad is not None and up.grad is not None
