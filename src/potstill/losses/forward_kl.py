"""Forward KL of a few rows in half the passes over them: what is asked for most, on a CPU.

From two log-softmaxes it would take four exponentials of every logit; here the two softmaxes are
all. With logits t of the teacher and s of the student, p and q their softmax and Z their sums of
exponentials,

    KL(p || q) = sum_v p_v (t_v - s_v) - log Z_t + log Z_s,

and log Z is a row's largest logit minus the log of the largest share. Equal rows give exactly 0.
"""

from __future__ import annotations

import torch
from torch import Tensor


def forward_kl_and_slope(
    teacher_NV: Tensor,
    student_NV: Tensor,
    label_N: Tensor,
    *,
    cross_entropy: float,
    slope: bool,
) -> tuple[Tensor, Tensor, Tensor | None] | None:
    """Return KL(p || q) and -log q of the labels, each summed over rows, and the loss's slope.

    The slope is (1 - w) (q - p) + w (q - onehot), w being `cross_entropy`'s weight. Logits are
    fp32; those of the teacher, and the student's where no slope is wanted, are overwritten. None
    comes back where a logit is not finite: what that means the general way knows.
    """
    top_t_N, top_s_N = teacher_NV.amax(dim=-1), student_NV.amax(dim=-1)
    p_NV, q_NV = torch.softmax(teacher_NV, dim=-1), torch.softmax(student_NV, dim=-1)
    log_t_N = top_t_N.sub_(p_NV.amax(dim=-1).log_())
    log_s_N = top_s_N.sub_(q_NV.amax(dim=-1).log_())
    ce = (log_s_N - student_NV.gather(1, label_N.unsqueeze(1)).squeeze(1)).sum()
    gap_N = torch.linalg.vecdot(p_NV, teacher_NV.sub_(student_NV))
    value = gap_N.sub_(log_t_N).add_(log_s_N).clamp_(min=0.0).sum()
    if not bool((value + ce).isfinite()):
        return None
    if not slope:
        return value, ce, None
    if cross_entropy == 0.0:
        return value, ce, q_NV.sub_(p_NV)
    slope_NV = q_NV.sub_(p_NV, alpha=1.0 - cross_entropy)
    minus_N1 = slope_NV.new_full((len(label_N), 1), -cross_entropy)
    return value, ce, slope_NV.scatter_add_(1, label_N.unsqueeze(1), minus_N1)
