"""Memory that the loss uses again: fresh pages for it cost a CPU a fifth of the loss's time."""

from __future__ import annotations

import torch
from torch import Tensor

from potstill.models.head import Head
from potstill.models.memory import keep_freed

# In fp32 a CPU's library multiplies a few rows with a wide head faster in blocks of this many
# tokens: by a fifth for 660 rows and 49,152 tokens, by a third for 128 rows and 262,144.
_TOKENS_AT_A_TIME = 1024


class Workspace:
    """Buffers by name, each as large as its largest use so far.

    What a method returns is valid until the next call with the same name.
    """

    def __init__(self) -> None:
        keep_freed()
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
        tokens = len(head.weight_VD)
        raw_NV = self.empty(name, (len(hidden_ND), tokens), hidden_ND.dtype, hidden_ND.device)
        plain = hidden_ND.dtype == torch.float32 and hidden_ND.device.type == "cpu"
        width = _TOKENS_AT_A_TIME if plain else tokens
        for start in range(0, tokens, width):
            block = slice(start, start + width)
            weight_DV, out_NV = head.weight_VD[block].T, raw_NV[:, block]
            if head.bias_V is None:
                torch.mm(hidden_ND, weight_DV, out=out_NV)
            else:
                torch.addmm(head.bias_V[block], hidden_ND, weight_DV, out=out_NV)
        return raw_NV

    def converted(self, name: str, weight_VD: Tensor, dtype: torch.dtype) -> Tensor:
        """Return a matrix in another dtype, and itself where it has that one."""
        if weight_VD.dtype == dtype:
            return weight_VD.detach()
        shape = (weight_VD.shape[0], weight_VD.shape[1])
        return self.empty(name, shape, dtype, weight_VD.device).copy_(weight_VD.detach())
