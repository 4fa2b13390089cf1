"""The teacher beside a training: what it makes of text that the student wrote just now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from potstill.errors import PotstillError
from potstill.losses.teacher import TeacherHead
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.score import PromptAndResponse, response_hidden
from potstill.models.vocabulary import VocabularyMap, teacher_ids_of


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
