"""Hold less for backward: what an activation function gave is computed again from what it took.

A gated feed-forward layer keeps four wide matrices: gate and up, act(gate), and act(gate) * up. The
last two follow from the first two without a matrix product.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_Kept = Tensor | Callable[[], Tensor]
_VIEWS = ("ViewBackward0", "UnsafeViewBackward0")


def recomputed_activations() -> Any:
    """Return the context in which a forward pass keeps no output of an activation function.

    Gradients are the same to the last bit: backward repeats the operations of forward.
    """
    return torch.autograd.graph.saved_tensors_hooks(_pack, _unpack)


def _pack(saved: Tensor) -> _Kept:
    node = saved.grad_fn
    if node is not None and node.name() in _VIEWS:
        node = node.next_functions[0][0]
    again = _from_activation(node) or _from_gate(node)
    if again is None:
        # Not the tensor itself, which may hold the node that is to hold it.
        return saved.detach()
    shape = saved.shape
    return lambda: again().view(shape)


def _unpack(kept: _Kept) -> Tensor:
    return kept if isinstance(kept, Tensor) else kept()


def _from_activation(node: Any) -> Callable[[], Tensor] | None:
    """Return what computes this node's output again, if it is an activation function."""
    name = "" if node is None else node.name()
    if name == "SiluBackward0":
        taken = node._saved_self.detach()
        return lambda: functional.silu(taken)
    if name == "GeluBackward0":
        taken, approximate = node._saved_self.detach(), node._saved_approximate
        return lambda: functional.gelu(taken, approximate=approximate)
    return None


def _from_gate(node: Any) -> Callable[[], Tensor] | None:
    """Return what computes this node's output again, if it is act(gate) * up or up * act(gate)."""
    if node is None or node.name() != "MulBackward0":
        return None
    for side, other in ((0, node._saved_other), (1, node._saved_self)):
        activation = _from_activation(node.next_functions[side][0])
        if activation is not None and other is not None:
            return _product(activation, other.detach())
    return None


def _product(activation: Callable[[], Tensor], up: Tensor) -> Callable[[], Tensor]:
    return lambda: activation() * up
