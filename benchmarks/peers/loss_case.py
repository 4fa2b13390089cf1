"""What every contender of `benchmarks/loss.py` computes from, and what it has to find."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Case:
    """Hidden states and heads of student and teacher, and labels that only some ask for.

    The student's head is an fp32 parameter, as training holds it; all else is in `dtype`, which
    is also that of the products.
    """

    hidden_ND: Tensor
    weight_VD: Tensor
    teacher_ND: Tensor
    teacher_VD: Tensor
    label_N: Tensor
    dtype: torch.dtype

    @classmethod
    def drawn(
        cls, rows: int, tokens: int, width: int, dtype: torch.dtype, device: torch.device
    ) -> Case:
        """Return random inputs whose distributions are about as peaked as a language model's."""
        torch.manual_seed(0)

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, device=device)

        spread = 2.5 / width**0.5
        return cls(
            hidden_ND=normal(rows, width).to(dtype).requires_grad_(),
            weight_VD=normal(tokens, width).mul_(spread).requires_grad_(),
            teacher_ND=normal(rows, width).to(dtype),
            teacher_VD=normal(tokens, width).mul_(spread).to(dtype),
            label_N=torch.randint(tokens, (rows,), device=device),
            dtype=dtype,
        )

    @property
    def rows(self) -> int:
        """Positions."""
        return len(self.label_N)

    def forget(self) -> None:
        """Drop the gradients of the last call."""
        self.hidden_ND.grad = self.weight_VD.grad = None

    def gradient_bytes(self) -> int:
        """Return what the gradients take that every contender has to hand out."""
        inputs = (self.hidden_ND, self.weight_VD)
        return sum(tensor.numel() * tensor.element_size() for tensor in inputs)


# Takes a case to the loss, forward KL over rows, and leaves the gradients at its inputs.
Step = Callable[[Case], Tensor]


def seconds_of(step: Step, case: Case) -> float:
    """Return how long a call takes, without gradients of the last one in memory."""
    case.forget()
    _wait(case)
    started = time.perf_counter()
    step(case)
    _wait(case)
    return time.perf_counter() - started


def _wait(case: Case) -> None:
    if case.hidden_ND.is_cuda:
        torch.cuda.synchronize()
