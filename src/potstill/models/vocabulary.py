"""How a trimmed student's tokens map to the teacher's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from potstill.durable import publish, staged


@dataclass(frozen=True)
class VocabularyMap:
    """The two directions between a trimmed vocabulary (size K) and the teacher's (size V).

    It is sparse: each token of one goes to one of the other, so that two columns of ids are the
    whole map.

    `teacher_ids_K[k]` is the teacher's id of student token k. `student_ids_V[v]` is the
    student token that receives the probability of teacher token v: itself where v is kept,
    the first piece of its re-encoding where it was removed, -1 where it can never occur
    (padding rows). `kept_V` tells the first two apart.
    """

    teacher_ids_K: Tensor
    student_ids_V: Tensor

    @property
    def kept_V(self) -> Tensor:
        """Boolean per teacher token: true where the token survives."""
        kept_V = torch.zeros(len(self.student_ids_V), dtype=torch.bool)
        kept_V[self.teacher_ids_K] = True
        return kept_V

    @property
    def removed_R(self) -> Tensor:
        """The teacher's tokens that the student lacks, in ascending order; no padding rows."""
        return torch.nonzero(~self.kept_V & (self.student_ids_V >= 0)).flatten()

    def probabilities(self, teacher_NV: Tensor, width: int) -> Tensor:
        """Return student_NW: the teacher's probabilities over the student's vocabulary.

        `width` is the number of rows of the student's head, at least K; columns past K are
        zero. Mass is moved, never lost: rows sum to what they summed to before.
        """
        mapped_NW = teacher_NV.new_zeros(teacher_NV.shape[0], width)
        kept = self.teacher_ids_K.to(teacher_NV.device)
        mapped_NW[:, : len(kept)] = teacher_NV[:, kept]
        removed = self.removed_R
        removed = removed.to(teacher_NV.device)
        into = self.student_ids_V.to(teacher_NV.device)[removed]
        return mapped_NW.index_add_(1, into, teacher_NV[:, removed])

    def save(self, path: Path) -> None:
        """Write both tensors as safetensors, whole or not at all.

        Raises `PotstillError` for a full disk.
        """
        tensors = {"teacher_ids": self.teacher_ids_K, "student_ids": self.student_ids_V}
        with staged(path.parent) as temporary:
            save_file(tensors, str(temporary))
            publish(temporary, path)

    @classmethod
    def load(cls, path: Path) -> VocabularyMap:
        """Read what `save` wrote."""
        tensors = load_file(str(path))
        return cls(tensors["teacher_ids"], tensors["student_ids"])


def teacher_ids_of(vocabulary: VocabularyMap | None, student_ids: Sequence[int]) -> tuple[int, ...]:
    """Return the teacher's ids of a student's; the same where the vocabulary is whole (None)."""
    if vocabulary is None:
        return tuple(student_ids)
    return tuple(vocabulary.teacher_ids_K[list(student_ids)].tolist())


def pieces_of(tokenizer: Any, trimmed: Any, token: int) -> list[int]:
    """Return the trimmed vocabulary's ids for one removed token's own characters."""
    text = tokenizer.backend_tokenizer.id_to_token(token)
    return [piece.id for piece in trimmed.backend_tokenizer.model.tokenize(text)]
