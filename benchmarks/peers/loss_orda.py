"""orda-kernel's loss: Triton kernels on a GPU; on a CPU its reference, with all logits."""

from __future__ import annotations

from orda_kernel import SeparateTeacher, distillation_loss
from torch import Tensor

from peers.loss_case import Case, Step


def made() -> Step:
    """Return the step."""

    def step(case: Case) -> Tensor:
        output = distillation_loss(
            case.hidden_ND,
            case.weight_VD.to(case.dtype),
            case.label_N,
            SeparateTeacher(case.teacher_ND, case.teacher_VD),
            student_ce_weight=0.0,
            teacher_ce_weight=0.0,
            kl_weight=1.0,
        )
        output.loss.backward()
        loss: Tensor = output.loss.detach()
        return loss

    return step
