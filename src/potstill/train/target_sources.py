"""Where the teacher's distribution at each training position comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from potstill.exchanges.store import ExchangeStore
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.train.examples import TrainingExample

ToTeacher = Callable[[Sequence[int]], Sequence[int]]


class TargetSource(Protocol):
    """Gives the teacher's final hidden states."""

    def hidden(self, examples: Sequence[TrainingExample]) -> list[Tensor]:
        """Return hidden_RD for each example, one row a response token."""
        ...


class StoredTargets:
    """States from the store; what is not there is asked of the teacher, if one is at hand.

    `to_teacher` brings a student's ids to the teacher's, where the two differ.
    """

    def __init__(
        self,
        store: ExchangeStore,
        scorer: str,
        stored: set[str],
        teacher: LoadedModel | None,
        to_teacher: ToTeacher = list,
    ) -> None:
        self._store, self._scorer, self._stored = store, scorer, stored
        self._teacher, self._to_teacher = teacher, to_teacher

    def hidden(self, examples: Sequence[TrainingExample]) -> list[Tensor]:
        """Return hidden_RD for each example."""
        known = [e for e in examples if e.exchange_id in self._stored]
        others = [e for e in examples if e.exchange_id not in self._stored]
        found = dict(
            zip(
                (e.exchange_id for e in known),
                self._store.targets(self._scorer, [e.exchange_id for e in known]),
                strict=True,
            )
        )
        if others:
            if self._teacher is None:
                raise ValueError("targets are not stored, and no teacher is loaded to score them")
            pairs = [
                (self._to_teacher(e.prompt_ids), self._to_teacher(e.response_ids)) for e in others
            ]
            scored = response_hidden(self._teacher, pairs)
            found.update(zip((e.exchange_id for e in others), scored, strict=True))
        return [found[e.exchange_id] for e in examples]
