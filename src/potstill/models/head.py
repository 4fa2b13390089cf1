"""The output head: from final hidden states to next-token logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class HeadForm:
    """What an architecture does to the product of hidden state and output matrix.

    `scale` multiplies it; then `softcap` is Gemma's tanh capping.
    """

    scale: float = 1.0
    softcap: float | None = None

    def applied(self, raw_NV: Tensor) -> Tensor:
        """Return logits_NV of the plain products raw_NV."""
        logits_NV = raw_NV if self.scale == 1.0 else raw_NV * self.scale
        if self.softcap is not None:
            logits_NV = self.softcap * torch.tanh(logits_NV / self.softcap)
        return logits_NV


@dataclass(frozen=True)
class Head:
    """What turns a final hidden state (after the last norm) into logits.

    `weight_VD` may have more rows than the tokenizer has tokens; rows from `tokens` on are
    padding and get -inf, never mass. `softcap` is Gemma's tanh capping, `scale` multiplies
    the logits before it.
    """

    weight_VD: Tensor
    bias_V: Tensor | None = None
    softcap: float | None = None
    scale: float = 1.0
    tokens: int | None = None

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Return fp32 logits_NV; the matrix product runs in the weight's own dtype."""
        logits_NV = F.linear(
            hidden_ND.to(self.weight_VD.dtype), self.weight_VD, self.bias_V
        ).float()
        logits_NV = HeadForm(self.scale, self.softcap).applied(logits_NV)
        if self.tokens is not None and self.tokens < logits_NV.shape[-1]:
            logits_NV[..., self.tokens :] = float("-inf")
        return logits_NV
