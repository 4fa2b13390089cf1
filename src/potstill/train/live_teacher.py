"""The teacher beside a training: what it makes of text that the student wrote just now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.exchanges.targets import HiddenStates, TargetValues
from potstill.losses.targets import DenseTargets
from potstill.losses.teacher import TeacherHead
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.score import PromptAndResponse, response_hidden
from potstill.models.vocabulary import VocabularyMap, teacher_ids_of

# How many of its likeliest tokens are told where they are looked at.
LIKELIEST = 16


@dataclass(frozen=True)
class LiveTeacher:
    """A teacher in memory, and its head over the student's tokens.

    `vocabulary` maps these to its own where the student's were trimmed, None where both are the
    same.
    """

    model: LoadedModel
    head: TeacherHead
    vocabulary: VocabularyMap | None = None

    @classmethod
    def of(
        cls, model: LoadedModel, vocabulary: VocabularyMap | None, dtype: torch.dtype
    ) -> LiveTeacher:
        """Return a teacher whose head's products run in `dtype`."""
        return cls(model, TeacherHead.of(head_of(model), vocabulary, dtype=dtype), vocabulary)

    @property
    def told(self) -> None:
        """It tells its whole distribution."""

    def check(self, student: LoadedModel, longest: PromptAndResponse) -> None:
        """Raise PotstillError where student and teacher end their answers differently."""
        check_ends(student, self)

    def read(self, texts: Sequence[PromptAndResponse], group: int) -> list[HiddenStates]:
        """Return its states where they predict each response; read again they are the same."""
        return [HiddenStates(hidden_RD) for hidden_RD in self.hidden(texts)]

    def hidden(self, texts: Sequence[PromptAndResponse]) -> list[Tensor]:
        """Return its states hidden_RD where they predict each response, in its compute dtype.

        `texts` are (prompt ids, response ids) in the student's tokens, which it reads under its own
        ids. None is rounded or left out.
        """
        pairs = [
            (teacher_ids_of(self.vocabulary, prompt), teacher_ids_of(self.vocabulary, response))
            for prompt, response in texts
        ]
        return response_hidden(self.model, pairs)

    def targets(self, values: Sequence[TargetValues]) -> DenseTargets:
        """Return its states as they are, and its head."""
        return DenseTargets(_joined(values), self.head)

    def likeliest(self, values: Sequence[TargetValues], every: int) -> tuple[Tensor, Tensor]:
        """Return (ids_NK, logp_NK) of its 16 likeliest tokens at every so-manieth row."""
        device = self.head.kept.weight_VD.device
        logp_NV = self.head.logits(_joined(values)[::every].to(device)).log_softmax(-1)
        found = logp_NV.topk(min(LIKELIEST, logp_NV.shape[1]))
        return found.indices, found.values

    def forget_before(self, group: int) -> None:
        """Do nothing: it keeps nothing."""

    def record(self) -> None:
        """Nobody charges for it."""


def _joined(values: Sequence[TargetValues]) -> Tensor:
    return torch.cat([one.hidden_RD for one in values if isinstance(one, HiddenStates)])


def check_ends(student: LoadedModel, teacher: LiveTeacher) -> None:
    """Raise PotstillError where student and teacher end their answers with different tokens.

    The teacher then gives the student's end next to no probability, and the student learns to
    write without one. Ends that a trimmed student has no token for are nobody's.
    """
    ours = set(teacher_ids_of(teacher.vocabulary, student.eos_ids))
    theirs = set(teacher.model.eos_ids)
    if teacher.vocabulary is not None:
        theirs &= set(teacher.vocabulary.teacher_ids_K.tolist())
    if ours == theirs:
        return
    spelt = teacher.model.tokenizer.convert_ids_to_tokens
    mine, wanted = (" and ".join(spelt(sorted(ids))) or "nothing" for ids in (ours, theirs))
    raise PotstillError(
        f"the student ends its answers with {mine} and the teacher with {wanted}, so that on its "
        "own text it would learn to end none; have eos_token_id in the student's "
        "generation_config.json name the teacher's ends, or take train.on_policy out"
    )
