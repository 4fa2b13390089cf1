"""Where the teacher's distribution at each training position comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from torch import Tensor

from potstill.exchanges.store import ExchangeStore
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.progress import Progress, Step
from potstill.train.examples import TrainingExample

# Scored states of more than this are not kept but asked for again in each epoch.
_KEEP_BYTES = 2 * 2**30

ToTeacher = Callable[[Sequence[int]], Sequence[int]]


class TargetSource(Protocol):
    """Gives the teacher's final hidden states."""

    def hidden(self, examples: Sequence[TrainingExample]) -> list[Tensor]:
        """Return hidden_RD for each example, one row a response token."""
        ...


class StoredTargets:
    """States from the store; what is not there the teacher reads, if one is at hand.

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

    def prepare(self, examples: Sequence[TrainingExample], progress: Progress) -> None:
        """Have the teacher read at once what it has to read, where its states fit into memory.

        In long batches that is faster than in the training's own, and later epochs ask nothing.
        """
        fresh = [e for e in examples if e.exchange_id not in self._stored]
        if not fresh or self._teacher is None:
            return
        width = self._teacher.network.config.get_text_config().hidden_size
        tokens = sum(len(e.response_ids) for e in fresh)
        if 2 * width * tokens > _KEEP_BYTES:
            return
        with progress.step("score", total=tokens, unit="tokens") as step:
            self._scored = self._read(fresh, step)

    def hidden(self, examples: Sequence[TrainingExample]) -> list[Tensor]:
        """Return hidden_RD for each example."""
        known = [e.exchange_id for e in examples if e.exchange_id in self._stored]
        found = dict(zip(known, self._store.targets(self._scorer, known), strict=True))
        found |= {
            e.exchange_id: self._scored[e.exchange_id]
            for e in examples
            if e.exchange_id in self._scored
        }
        found |= self._read([e for e in examples if e.exchange_id not in found])
        return [found[e.exchange_id] for e in examples]

    def _read(
        self, examples: Sequence[TrainingExample], step: Step | None = None
    ) -> dict[str, Tensor]:
        """Return the teacher's states on examples that it reads now, in fp16."""
        if not examples:
            return {}
        if self._teacher is None:
            raise ValueError("targets are not stored, and no teacher is loaded to score them")
        pairs = [
            (self._to_teacher(e.prompt_ids), self._to_teacher(e.response_ids)) for e in examples
        ]
        states = response_hidden(self._teacher, pairs, step=step)
        return {e.exchange_id: h.half() for e, h in zip(examples, states, strict=True)}
