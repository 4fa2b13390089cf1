"""The teacher's head over the tokens that the student knows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from potstill.losses.workspace import Workspace
from potstill.models.head import Head
from potstill.models.vocabulary import VocabularyMap

# Elements of removed logits that are exponentiated at a time: they stay in a CPU's cache.
_BLOCK = 2**18


@dataclass(frozen=True)
class TeacherHead:
    """The teacher's head with its rows in the student's order.

    `kept` gives the logits of the tokens that the student has, in the student's numbering.
    `removed`, if any, gives those of the tokens that it lacks, sorted by the student token that
    takes their mass: `receiver_of_R` counts into `receivers_U`, which are student tokens.
    Padding rows are in neither.
    """

    kept: Head
    removed: Head | None = None
    receiver_of_R: Tensor | None = None
    receivers_U: Tensor | None = None

    @classmethod
    def of(
        cls, head: Head, vocabulary: VocabularyMap | None = None, dtype: torch.dtype | None = None
    ) -> TeacherHead:
        """Arrange a head once, so that each chunk of rows is two products and one sum.

        `dtype` is what its matrix products run in, by default that of its weight.
        """
        dtype = dtype or head.weight_VD.dtype
        if vocabulary is None:
            return cls(_rows(head, slice(0, head.tokens), dtype))
        device = head.weight_VD.device
        kept = _rows(head, vocabulary.teacher_ids_K.to(device), dtype)
        removed_R = torch.nonzero(~vocabulary.kept_V & (vocabulary.student_ids_V >= 0)).flatten()
        removed_R = removed_R[removed_R < (head.tokens or head.weight_VD.shape[0])]
        if len(removed_R) == 0:
            return cls(kept)
        into_R, order_R = vocabulary.student_ids_V[removed_R].sort(stable=True)
        receivers_U, receiver_of_R = torch.unique_consecutive(into_R, return_inverse=True)
        return cls(
            kept=kept,
            removed=_rows(head, removed_R[order_R].to(device), dtype),
            receiver_of_R=receiver_of_R.to(device),
            receivers_U=receivers_U.to(device),
        )

    @property
    def width(self) -> int:
        """How many student tokens get a logit."""
        return self.kept.weight_VD.shape[0]

    @property
    def tokens(self) -> int:
        """How many of the teacher's tokens are looked at."""
        return self.width + (0 if self.removed is None else self.removed.weight_VD.shape[0])

    def products(self, hidden_ND: Tensor, workspace: Workspace) -> TeacherProducts:
        """Return the matrix products of some rows, from which parts of them take their logits."""
        hidden_ND = hidden_ND.to(self.kept.weight_VD.dtype)
        raw_NK = workspace.products("teacher", hidden_ND, self.kept)
        if self.removed is None or self.receiver_of_R is None or self.receivers_U is None:
            return TeacherProducts(self, raw_NK)
        receivers = len(self.receivers_U)
        extra_NU = _summed(self.removed, hidden_ND, self.receiver_of_R, receivers, workspace)
        return TeacherProducts(self, raw_NK, extra_NU)

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Return fp32 logits_NK over the student's tokens, not normalised."""
        return self.products(hidden_ND, Workspace()).logits()


@dataclass(frozen=True)
class TeacherProducts:
    """What a head's products with some rows gave: `raw_NK` in its dtype, and by receiver the log
    of the summed exponentials of the removed tokens' logits, `extra_NU` in fp32."""

    head: TeacherHead
    raw_NK: Tensor
    extra_NU: Tensor | None = None

    def rows(self, rows: slice) -> TeacherProducts:
        """Return those of some of the rows."""
        extra_NU = None if self.extra_NU is None else self.extra_NU[rows]
        return TeacherProducts(self.head, self.raw_NK[rows], extra_NU)

    def logits(self) -> Tensor:
        """Return fp32 logits_NK, not normalised.

        A receiver's logit is the log of the summed exponentials of its own and of the removed
        tokens' logits, so that a softmax gives it their mass; none is lost.
        """
        logits_NK = capped(in_fp32(self.raw_NK), self.head.kept.scale, self.head.kept.softcap)
        if self.extra_NU is None or self.head.receivers_U is None:
            return logits_NK
        own_NU = logits_NK.index_select(1, self.head.receivers_U)
        joined_NU = torch.logaddexp(own_NU, self.extra_NU)
        return logits_NK.index_copy_(1, self.head.receivers_U, joined_NU)


def in_fp32(raw_NV: Tensor) -> Tensor:
    """Return a copy in fp32, which may be changed in place."""
    return raw_NV.to(torch.float32, copy=True)


def capped(raw_NV: Tensor, scale: float, softcap: float | None) -> Tensor:
    """Return logits from raw products: a head's scale, then its soft cap, in place."""
    if scale != 1.0:
        raw_NV = raw_NV.mul_(scale)
    if softcap is not None:
        raw_NV = raw_NV.div_(softcap).tanh_().mul_(softcap)
    return raw_NV


def _summed(
    removed: Head,
    hidden_ND: Tensor,
    receiver_of_R: Tensor,
    receivers: int,
    workspace: Workspace,
) -> Tensor:
    """Return the log of the summed exponentials of the removed logits, by receiver.

    Tokens are rows in here: then a receiver's sum adds whole rows, four times faster on a CPU
    than adding columns.
    """
    shape = (len(removed.weight_VD), len(hidden_ND))
    raw_RN = workspace.empty("removed", shape, hidden_ND.dtype, hidden_ND.device)
    torch.mm(removed.weight_VD, hidden_ND.T, out=raw_RN)
    if removed.bias_V is not None:
        raw_RN += removed.bias_V.unsqueeze(1)
    # Scale and cap keep the order, so the largest stays the largest.
    cap = (removed.scale, removed.softcap)
    top_N = capped(raw_RN.amax(dim=0).float(), *cap)
    sums_UN = top_N.new_zeros(receivers, raw_RN.shape[1])
    step = max(1, _BLOCK // max(1, raw_RN.shape[1]))
    for start in range(0, len(raw_RN), step):
        block = slice(start, start + step)
        share_BN = capped(in_fp32(raw_RN[block]), *cap).sub_(top_N).exp_()
        sums_UN.index_add_(0, receiver_of_R[block], share_BN)
    return sums_UN.log_().add_(top_N).T


def _rows(head: Head, rows: Tensor | slice, dtype: torch.dtype) -> Head:
    bias_V = None if head.bias_V is None else head.bias_V.detach()[rows].to(dtype)
    weight_VD = head.weight_VD.detach()[rows].to(dtype)
    return replace(head, weight_VD=weight_VD, bias_V=bias_V, tokens=None)
