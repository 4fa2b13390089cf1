"""How far a student is from its teacher on text that it wrote itself: KL(student || teacher)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from potstill.losses.divergence import reverse_kl
from potstill.losses.teacher import TeacherHead
from potstill.models.head import Head
from potstill.models.likelihood import (
    CHUNK,
    Floats,
    chunks,
    log_probabilities,
    products_of,
    ready,
    sums_by_text,
)


@torch.inference_mode()
def own_reverse_kl(
    student_hidden: Sequence[Tensor],
    student_head: Head,
    teacher_hidden: Sequence[Tensor],
    teacher_head: TeacherHead,
    response_ids: Sequence[Sequence[int]],
    *,
    precise: bool = True,
    chunk: int = CHUNK,
) -> Floats:
    """Return the sum of KL(q || p) over the positions of each text, in nats and float64.

    q is the student's distribution and p the teacher's, at temperature 1, both over all of the
    student's tokens; hidden states are one tensor [R, d] a text, row r predicting response token r.
    Given texts that the student drew from q, sum over texts / tokens estimates the divergence a
    token along what it writes. `precise` leaves the student's product in fp32; the teacher's runs
    as its head was arranged. `chunk` is positions at a time.
    """
    head = ready(student_head, precise)
    found = []
    with products_of([student_head]):
        for _, (mine_ND, theirs_ND) in chunks(
            [student_hidden, teacher_hidden], response_ids, chunk
        ):
            logq_NV = log_probabilities(head, mine_ND)
            device = teacher_head.kept.weight_VD.device
            logp_NV = teacher_head.logits(theirs_ND.to(device)).log_softmax(-1)
            # Where one has more columns the student has no mass: padding, or tokens it lacks.
            width = min(logp_NV.shape[1], logq_NV.shape[1])
            value_N, _ = reverse_kl(logp_NV[:, :width], logq_NV[:, :width].to(device))
            found.append(value_N.double().cpu())
    return sums_by_text(torch.cat(found), [len(ids) for ids in response_ids])
