"""The loss as a training script writes it: all logits, and autograd."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from peers.loss_case import Case, Step


def made() -> Step:
    """Return the step."""

    def step(case: Case) -> Tensor:
        student_NV = F.linear(case.hidden_ND, case.weight_VD.to(case.dtype)).float()
        with torch.no_grad():
            teacher_NV = F.linear(case.teacher_ND, case.teacher_VD).float().log_softmax(-1)
        kl = F.kl_div(student_NV.log_softmax(-1), teacher_NV, reduction="sum", log_target=True)
        loss = kl / case.rows
        loss.backward()
        return loss.detach()

    return step
