"""potstill's chunked loss."""

from __future__ import annotations

from torch import Tensor

from peers.loss_case import Case, Step
from potstill.losses.chunked import distillation_loss
from potstill.losses.targets import DenseTargets
from potstill.losses.workspace import Workspace
from potstill.models.head import Head


def made() -> Step:
    """Return the step with a workspace of its own, as a training run has one."""
    workspace = Workspace()

    def step(case: Case) -> Tensor:
        loss, _ = distillation_loss(
            case.hidden_ND,
            Head(case.weight_VD),
            DenseTargets(case.teacher_ND, Head(case.teacher_VD)),
            case.label_N,
            normaliser=case.rows,
            compute_dtype=case.dtype,
            workspace=workspace,
        )
        loss.backward()
        return loss.detach()

    return step
