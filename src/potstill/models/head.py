"""The output head: from final hidden states to next-token logits."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from potstill.models.products import product_for

# Columns of logits made at once on a CPU: they stay in its cache until they are finished.
_CPU_COLUMNS = 8192


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


class LogitsReader:
    """Reads logits of up to `rows` states at a time, again and again, into the same memory."""

    def __init__(self, head: Head, rows: int) -> None:
        self.head = head
        weight_VD = head.weight_VD
        self.multiply = product_for(weight_VD.device, weight_VD.dtype)
        on_cpu = weight_VD.device.type == "cpu"
        self.buffer_SV = torch.empty(rows, len(weight_VD)) if on_cpu else None

    def read(self, hidden_ND: Tensor) -> Tensor:
        """Return fp32 logits_NV as `Head.logits` does; they are lent until the next call."""
        if self.buffer_SV is None:
            return self.head.logits(hidden_ND)
        head, logits_NV = self.head, self.buffer_SV[: len(hidden_ND)]
        hidden_ND = hidden_ND.to(head.weight_VD.dtype)
        form = HeadForm(head.scale, head.softcap)
        for start in range(0, len(head.weight_VD), _CPU_COLUMNS):
            columns = slice(start, start + _CPU_COLUMNS)
            bias = None if head.bias_V is None else head.bias_V[columns]
            raw_NC = self.multiply(hidden_ND, head.weight_VD[columns], bias)
            logits_NV[:, columns] = form.applied(raw_NC.float())
        if head.tokens is not None:
            logits_NV[:, head.tokens :] = float("-inf")
        return logits_NV
