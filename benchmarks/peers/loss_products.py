"""The four matrix products that the loss and its gradients cannot do without, and nothing else.

In bf16 even the head's gradient is left in bf16: the yardstick does not add up in fp32.
"""

from __future__ import annotations

import gc
from itertools import product

import torch
from torch import Tensor

from peers.loss_case import Case, Step, seconds_of

# Rows at a time, as parts of all, and tokens at a time in which logits are formed (None: all).
PARTS = (1, 2, 4, 8)
BLOCKS = (None, 1024)


def fastest(case: Case) -> Step:
    """Return the fairest yardstick: as many rows and tokens at a time as is fastest here."""
    spent: dict[tuple[int, int | None], float] = {}
    for rows, block in product([case.rows // n for n in PARTS if case.rows % n == 0], BLOCKS):
        step = made(case, rows, block)
        spent[rows, block] = min(seconds_of(step, case) for _ in range(2))
        # Its buffers go before the next one's come.
        del step
        gc.collect()
    return made(case, *min(spent, key=spent.__getitem__))


def made(case: Case, rows: int, block: int | None = None) -> Step:
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
            for first in range(0, tokens, block or tokens):
                some = slice(first, first + (block or tokens))
                torch.mm(hidden_ND[part], weight_VD[some].T, out=student_NV[:, some])
                torch.mm(case.teacher_ND[part], case.teacher_VD[some].T, out=teacher_NV[:, some])
            torch.mm(student_NV, weight_VD, out=grad_ND)
            # One call in fp32 adds as it multiplies.
            grad_VD.addmm_(student_NV.T, hidden_ND[part], beta=0 if start == 0 else 1)
        return loss

    return step


def flops(case: Case) -> int:
    """Return the operations of the four products."""
    return 4 * 2 * case.rows * case.weight_VD.numel()
