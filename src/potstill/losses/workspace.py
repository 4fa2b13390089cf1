"""Memory that the loss uses again: fresh pages for it cost a CPU a fifth of the loss's time."""

from __future__ import annotations

import torch
from torch import Tensor

from potstill.models.head import Head


class Workspace:
    """Buffers by name, each as large as its largest use so far.

    What a method returns is valid until the next call with the same name.
    """

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}

    def empty(
        self, name: str, shape: tuple[int, int], dtype: torch.dtype, device: torch.device
    ) -> Tensor:
        """Return uninitialised memory."""
        count = shape[0] * shape[1]
        buffer = self._buffers.get(name)
        if (
            buffer is None
            or buffer.numel() < count
            or (buffer.dtype, buffer.device) != (dtype, device)
        ):
            # The old one goes first, so that both are never held.
            self._buffers.pop(name, None)
            buffer = self._buffers[name] = torch.empty(count, dtype=dtype, device=device)
        return buffer[:count].view(shape)

    def products(self, name: str, hidden_ND: Tensor, head: Head) -> Tensor:
        """Return raw_NV: what the head's weight and bias make of these rows, in their dtype."""
        shape = (len(hidden_ND), len(head.weight_VD))
        raw_NV = self.empty(name, shape, hidden_ND.dtype, hidden_ND.device)
        if head.bias_V is None:
            return torch.mm(hidden_ND, head.weight_VD.T, out=raw_NV)
        return torch.addmm(head.bias_V, hidden_ND, head.weight_VD.T, out=raw_NV)

    def converted(self, name: str, weight_VD: Tensor, dtype: torch.dtype) -> Tensor:
        """Return a matrix in another dtype, and itself where it has that one."""
        if weight_VD.dtype == dtype:
            return weight_VD.detach()
        shape = (weight_VD.shape[0], weight_VD.shape[1])
        return self.empty(name, shape, dtype, weight_VD.device).copy_(weight_VD.detach())
