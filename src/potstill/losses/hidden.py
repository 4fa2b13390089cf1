"""How far a student's hidden states are from its teacher's, a token at a time."""

from __future__ import annotations

import torch
from torch import Tensor


def relative_mse(student_ND: Tensor, teacher_ND: Tensor) -> Tensor:
    """Return the squared error over the teacher's square, |s - t|^2 / |t|^2, for each row.

    A state of zeros has 1, whatever the teacher's is and however large its block makes states, so
    that no block and no token counts for being large.
    """
    square_N = teacher_ND.square().sum(-1)
    return (student_ND - teacher_ND).square().sum(-1) / square_N.clamp_min(_tiny(teacher_ND))


def mse(student_ND: Tensor, teacher_ND: Tensor) -> Tensor:
    """Return the mean over components of (s - t)^2, for each row.

    FitNets (Romero et al. 2015, arXiv 1412.6550, hints), TinyBERT (Jiao et al. 2020, arXiv
    1909.10351, hidden states).
    """
    return (student_ND - teacher_ND).square().mean(-1)


def cosine(student_ND: Tensor, teacher_ND: Tensor) -> Tensor:
    """Return 1 - cos(s, t) for each row (DistilBERT, Sanh et al. 2019, arXiv 1910.01108).

    It is formed as half the squared distance of the two directions, which is exactly 0 for equal
    states, where 1 minus a cosine would be what rounding leaves.
    """
    return 0.5 * (_direction(student_ND) - _direction(teacher_ND)).square().sum(-1)


DISTANCES = {"relative_mse": relative_mse, "mse": mse, "cosine": cosine}


def hidden_distance(
    kind: str, student_ND: Tensor, teacher_ND: Tensor, projection_ED: Tensor | None = None
) -> Tensor:
    """Return distance_N of a student's states from its teacher's, in fp32 at least.

    `projection_ED` first brings the student's states to the teacher's width E. Gradients flow to
    the student's states and to the projection, never to the teacher's.
    """
    exact = torch.promote_types(student_ND.dtype, torch.float32)
    mine_NE = student_ND.to(exact)
    if projection_ED is not None:
        mine_NE = mine_NE @ projection_ED.to(exact).T
    return DISTANCES[kind](mine_NE, teacher_ND.detach().to(exact))


def least_squares(gram_DD: Tensor, cross_DE: Tensor, ridge: float) -> Tensor:
    """Return projection_ED, the W that makes the sum over rows of |W s - t|^2 least.

    `gram_DD` is the sum of s s^T over the rows and `cross_DE` that of s t^T; `ridge` times the
    gram matrix's mean diagonal is added to it, so that few rows have one answer too.
    """
    added = ridge * gram_DD.diagonal().mean()
    eye_DD = torch.eye(len(gram_DD), dtype=gram_DD.dtype, device=gram_DD.device)
    weight_DE: Tensor = torch.linalg.solve(gram_DD + added * eye_DD, cross_DE)
    return weight_DE.T.contiguous()


def _direction(hidden_ND: Tensor) -> Tensor:
    square_N1 = hidden_ND.square().sum(-1, keepdim=True)
    return hidden_ND / square_N1.clamp_min(_tiny(hidden_ND)).sqrt()


def _tiny(hidden_ND: Tensor) -> float:
    return torch.finfo(hidden_ND.dtype).tiny
