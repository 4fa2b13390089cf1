"""The four matrix products that the loss and its gradients cannot do without, and nothing else.

In bf16 even the head's gradient is left in bf16: the yardstick does not add up in fp32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from peers.loss_case import Case, Step


def made(case: Case, rows: int) -> Step:
    """Return the step, `rows` at a time, with products that go where memory is already."""
    device, dtype, width = case.hidden_ND.device, case.dtype, case.hidden_ND.shape[1]
    weight_VD = case.weight_VD.detach().to(dtype)
    tokens = len(weight_VD)
    student_NV = torch.empty(rows, tokens, dtype=dtype, device=device)
    teacher_NV = torch.empty_like(student_NV)
    grad_ND = torch.empty(rows, width, dtype=dtype, device=device)
    grad_VD = torch.empty_like(weight_VD)
    hidden_ND, loss = case.hidden_ND.detach(), torch.zeros((), device=device)

    def step(case: Case) -> Tensor:
        for start in range(0, case.rows, rows):
            part = slice(start, start + rows)
            torch.mm(hidden_ND[part], weight_VD.T, out=student_NV)
            torch.mm(case.teacher_ND[part], case.teacher_VD.T, out=teacher_NV)
            torch.mm(student_NV, weight_VD, out=grad_ND)
            # One call in fp32 adds as it multiplies.
            grad_VD.addmm_(student_NV.T, hidden_ND[part], beta=0 if start == 0 else 1)
        return loss

    return step


def flops(case: Case) -> int:
    """Return the operations of the four products."""
    return 4 * 2 * case.rows * case.weight_VD.numel()
