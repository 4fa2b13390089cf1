"""The teacher beside a training, read for what its blocks give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from potstill.models.inner import block_states
from potstill.models.loaded import LoadedModel
from potstill.models.vocabulary import VocabularyMap, teacher_ids_of
from potstill.train.examples import TrainingExample


@dataclass(frozen=True)
class TeacherBlocks:
    """A teacher in memory; `vocabulary` maps a trimmed student's tokens to its own, None where both
    are the same."""

    model: LoadedModel
    vocabulary: VocabularyMap | None = None

    def block_states(
        self, examples: Sequence[TrainingExample], numbers: Sequence[int]
    ) -> dict[int, Tensor]:
        """Return by block its hidden_ND, a row for each response token of each example in turn."""
        texts = [
            (
                teacher_ids_of(self.vocabulary, example.prompt_ids),
                teacher_ids_of(self.vocabulary, example.response_ids),
            )
            for example in examples
        ]
        return block_states(self.model, texts, numbers)
