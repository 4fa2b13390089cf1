"""The chunked loss inside TRL's `DistillationTrainer`: Triton on a GPU, PyTorch on a CPU."""

from __future__ import annotations

import torch
from torch import Tensor
from trl.kernels.chunked_divergence import ChunkedDivergenceFunction

from peers.loss_case import Case, Step


def made() -> Step:
    """Return the step; TRL converts the head to the products' dtype tile by tile."""

    def step(case: Case) -> Tensor:
        with torch.autocast(case.hidden_ND.device.type, case.dtype, enabled=_mixed(case)):
            divergence_N, _ = ChunkedDivergenceFunction.apply(
                case.hidden_ND, case.weight_VD, None, case.teacher_ND, case.teacher_VD, None, 0.0
            )
            loss = divergence_N.sum() / case.rows
        loss.backward()
        return loss.detach()

    return step


def _mixed(case: Case) -> bool:
    return case.dtype != torch.float32
