"""Liger's chunked loss, which is plain PyTorch; its JSD at beta 0 is forward KL."""

from __future__ import annotations

import torch
from liger_kernel.chunked_loss import LigerFusedLinearJSDLoss
from torch import Tensor

from peers.loss_case import Case, Step


def made(chunk: int = 1024, compiled: bool | None = None) -> Step:
    """Return the step; 1,024 rows are its default chunk. By default it is compiled on a GPU."""

    def step(case: Case) -> Tensor:
        # Compiled on a CPU it needs a C++ compiler when it runs.
        compile_it = torch.cuda.is_available() if compiled is None else compiled
        found = LigerFusedLinearJSDLoss(
            weight_hard_loss=0.0,
            weight_soft_loss=1.0,
            beta=0.0,
            compiled=compile_it,
            chunk_size=chunk,
        )
        loss: Tensor = found(
            case.hidden_ND,
            case.weight_VD.to(case.dtype),
            case.teacher_ND,
            case.teacher_VD,
            case.label_N,
        )
        loss.backward()
        return loss.detach()

    return step
