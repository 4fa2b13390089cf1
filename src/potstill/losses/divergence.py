"""Divergences between next-token distributions: each one is one pure function.

They take log-probabilities with -inf where a token cannot occur, and never turn that into NaN.
"""

from __future__ import annotations

import torch
from torch import Tensor


def forward_kl(teacher_logp_NV: Tensor, student_logp_NV: Tensor) -> Tensor:
    """Return kl_N: KL(teacher || student) = sum over tokens of p (log p - log q), in nats.

    Equal rows give exactly 0. A token without teacher mass adds nothing, also where the
    student gives it none; teacher mass on a token that the student rules out gives inf
    (Kullback and Leibler 1951, equation 2.4, with 0 log 0 = 0).
    """
    teacher_p_NV = teacher_logp_NV.exp()
    gap_NV = (teacher_logp_NV - student_logp_NV).masked_fill_(teacher_p_NV == 0, 0.0)
    return (teacher_p_NV.mul_(gap_NV)).sum(dim=-1)


def cross_entropy(student_logp_NV: Tensor, label_N: Tensor) -> Tensor:
    """Return ce_N: the student's negative log-probability of each label, in nats."""
    return -torch.gather(student_logp_NV, -1, label_N.unsqueeze(-1)).squeeze(-1)
