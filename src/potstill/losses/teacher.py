"""The teacher's distribution over the tokens that the student knows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from potstill.models.head import Head
from potstill.models.vocabulary import VocabularyMap


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

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Return fp32 logits_NK over the student's tokens, not normalised.

        A receiver's logit is the log of the summed exponentials of its own and of the removed
        tokens' logits, so that a softmax gives it their mass; none is lost.
        """
        logits_NK = self.kept.logits(hidden_ND)
        if self.removed is None or self.receiver_of_R is None or self.receivers_U is None:
            return logits_NK
        extra_NU = _summed(self.removed, hidden_ND, self.receiver_of_R, len(self.receivers_U))
        own_NU = logits_NK[:, self.receivers_U]
        logits_NK[:, self.receivers_U] = torch.logaddexp(own_NU, extra_NU)
        return logits_NK


def capped(raw_NV: Tensor, head: Head) -> Tensor:
    """Return logits from raw products: the head's scale, then its soft cap, in place."""
    if head.scale != 1.0:
        raw_NV = raw_NV.mul_(head.scale)
    if head.softcap is not None:
        raw_NV = raw_NV.div_(head.softcap).tanh_().mul_(head.softcap)
    return raw_NV


def _summed(removed: Head, hidden_ND: Tensor, receiver_of_R: Tensor, receivers: int) -> Tensor:
    """Return the log of the summed exponentials of the removed logits, by receiver.

    Tokens are rows in here: then a receiver's sum adds whole rows, four times faster on a CPU
    than adding columns.
    """
    weight_RD = removed.weight_VD
    raw_RN = (weight_RD @ hidden_ND.to(weight_RD.dtype).T).float()
    if removed.bias_V is not None:
        raw_RN += removed.bias_V.float().unsqueeze(1)
    logits_RN = capped(raw_RN, removed)
    top_N = logits_RN.amax(dim=0)
    sums_UN = logits_RN.new_zeros(receivers, logits_RN.shape[1])
    sums_UN.index_add_(0, receiver_of_R, logits_RN.sub_(top_N).exp_())
    return sums_UN.log_().add_(top_N).T


def _rows(head: Head, rows: Tensor | slice, dtype: torch.dtype) -> Head:
    bias_V = None if head.bias_V is None else head.bias_V.detach()[rows].to(dtype)
    weight_VD = head.weight_VD.detach()[rows].to(dtype)
    return replace(head, weight_VD=weight_VD, bias_V=bias_V, tokens=None)
