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
    """States from the store; what is not there the teacher reads once, if one is at hand.

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
        self._scored: dict[str, Tensor] = {}

    def hidden(self, examples: Sequence[TrainingExample]) -> list[Tensor]:
        """Return hidden_RD for each example."""
        known = [e.exchange_id for e in examples if e.exchange_id in self._stored]
        found = dict(zip(known, self._store.targets(self._scorer, known), strict=True))
        self._score([e for e in examples if e.exchange_id not in self._stored])
        found |= {
            e.exchange_id: self._scored[e.exchange_id]
            for e in examples
            if e.exchange_id not in found
        }
        return [found[e.exchange_id] for e in examples]

    def _score(self, examples: Sequence[TrainingExample]) -> None:
        """Have the teacher read examples that it has not read yet."""
        fresh = [e for e in examples if e.exchange_id not in self._scored]
        if not fresh:
            return
        if self._teacher is None:
            raise ValueError("targets are not stored, and no teacher is loaded to score them")
        pairs = [(self._to_teacher(e.prompt_ids), self._to_teacher(e.response_ids)) for e in fresh]
        states = response_hidden(self._teacher, pairs)
        self._scored.update((e.exchange_id, h.half()) for e, h in zip(fresh, states, strict=True))
