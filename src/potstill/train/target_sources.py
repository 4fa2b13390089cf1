"""Where the teacher's distribution at each training position comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from potstill.exchanges.forming import formed
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import Draws, HiddenStates, LikeliestTokens, TargetValues
from potstill.losses.targets import DenseTargets, SampledTargets, Targets, TopKTargets
from potstill.losses.teacher import TeacherHead
from potstill.models.head import Head
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Progress, Silent, Step
from potstill.train.examples import TrainingExample

# Scored states of more than this are not kept but asked for again in each epoch.
_KEEP_BYTES = 2 * 2**30

ToTeacher = Callable[[Sequence[int]], Sequence[int]]


class TargetSource(Protocol):
    """Gives the teacher's distribution at the response positions of some examples."""

    def targets(self, examples: Sequence[TrainingExample]) -> Targets:
        """Return what the loss takes, a row for each response token of each example in turn."""
        ...


@dataclass(frozen=True)
class WithOwn:
    """Targets of stored answers from one source, and of the student's own from another."""

    stored: TargetSource
    own: TargetSource

    def targets(self, examples: Sequence[TrainingExample]) -> Targets:
        """Return what the loss takes; all examples are of one kind."""
        return (self.own if examples[0].own else self.stored).targets(examples)


@dataclass(frozen=True)
class Scorer:
    """Whose targets they are: its identity, its head, the map from its vocabulary to the student's
    (None where they are the same), and itself, where something has to be scored. A server's head
    is not at hand: None."""

    identity: str
    head: Head | None
    vocabulary: VocabularyMap | None = None
    model: LoadedModel | None = None
    to_teacher: ToTeacher = list


class StoredTargets:
    """Targets from the store; what is not there the teacher reads, if one is at hand.

    All are in the form that `spec` names. `stored` are the exchanges whose stored targets are
    used. `dtype` is what the head's products run in. With `from_text` (top-k alone) an example
    that has no stored targets gets its own text as a distribution, certain of each token: its
    forward KL is the cross-entropy on that text.
    """

    def __init__(
        self,
        store: ExchangeStore,
        spec: TargetSpec,
        stored: set[str],
        scorer: Scorer,
        dtype: torch.dtype,
        *,
        from_text: bool = False,
    ) -> None:
        if from_text and spec.kind != "top-k":
            raise ValueError(f"text gives no {spec.kind} targets")
        self._store, self._spec, self._stored, self._scorer = store, spec, stored, scorer
        self._from_text = from_text
        self._fresh: dict[str, TargetValues] = {}
        self._progress: Progress = Silent()
        self._rest_said = False
        self._head = None
        if spec.is_hidden:
            if scorer.head is None:
                raise ValueError(f"{spec.kind} targets need the scorer's head")
            self._head = TeacherHead.of(scorer.head, scorer.vocabulary, dtype=dtype)

    def prepare(self, examples: Sequence[TrainingExample], progress: Progress) -> None:
        """Have the teacher read at once what it has to read, where its states fit into memory.

        Every later epoch then takes them from memory.
        """
        self._progress = progress
        fresh = [e for e in examples if e.exchange_id not in self._stored]
        head = self._scorer.head
        if not fresh or self._scorer.model is None or head is None:
            return
        width = head.weight_VD.shape[1]
        tokens = sum(len(e.response_ids) for e in fresh)
        if 2 * width * tokens > _KEEP_BYTES:
            return
        with progress.step("score", total=tokens, unit="tokens") as step:
            self._fresh = self._read(fresh, step)

    def targets(self, examples: Sequence[TrainingExample]) -> Targets:
        """Return what the loss takes, on the CPU but for the head."""
        ids = [e.exchange_id for e in examples]
        known = [key for key in ids if key in self._stored]
        stored = self._store.targets(self._scorer.identity, self._spec, known)
        found = dict(zip(known, stored, strict=True))
        found |= {key: self._fresh[key] for key in ids if key in self._fresh}
        left = [e for e in examples if e.exchange_id not in found]
        if self._from_text:
            found |= {e.exchange_id: _certain(e, self._spec) for e in left}
        else:
            found |= self._read(left)
        return self._joined([found[key] for key in ids])

    def _read(
        self, examples: Sequence[TrainingExample], step: Step | None = None
    ) -> dict[str, TargetValues]:
        """Return the targets of examples that the teacher reads now."""
        if not examples:
            return {}
        scorer = self._scorer
        if scorer.model is None or scorer.head is None:
            raise ValueError("targets are not stored, and no teacher is loaded to score them")
        pairs = [
            (scorer.to_teacher(e.prompt_ids), scorer.to_teacher(e.response_ids)) for e in examples
        ]
        states = response_hidden(scorer.model, pairs, step=step)
        return {
            e.exchange_id: formed(
                e.exchange_id, scorer.identity, hidden_RD.half(), scorer.head, self._spec
            ).values
            for e, hidden_RD in zip(examples, states, strict=True)
        }

    def _joined(self, values: Sequence[TargetValues]) -> Targets:
        if self._head is not None:
            states = [v.hidden_RD for v in values if isinstance(v, HiddenStates)]
            return DenseTargets(torch.cat(states), self._head)
        if self._spec.kind == "sampled":
            draws = [v for v in values if isinstance(v, Draws)]
            return _sampled(draws, self._spec, self._scorer.vocabulary)
        likeliest = [v for v in values if isinstance(v, LikeliestTokens)]
        self._say_untold(likeliest)
        ids_NK = torch.cat([v.ids_RK for v in likeliest])
        logp_NK = torch.cat([v.logp_RK for v in likeliest])
        return TopKTargets(ids_NK, logp_NK, torch.cat([v.rest_R for v in likeliest]))

    def _say_untold(self, likeliest: Sequence[LikeliestTokens]) -> None:
        """Say once that an earlier version stored likeliest tokens without their rest."""
        if self._rest_said or all(v.rest_told for v in likeliest):
            return
        self._rest_said = True
        self._progress.note(
            "train: an earlier version of potstill stored likeliest tokens in half precision and "
            "without the mass of the rest, which is taken for what they leave of 1; collecting "
            "anew (--fresh) stores both exactly"
        )


def _certain(example: TrainingExample, spec: TargetSpec) -> LikeliestTokens:
    """Return a response's own tokens, each with all of the mass; the other places are unused."""
    assert spec.count is not None
    label_R = torch.tensor(example.response_ids)
    logp_RK = torch.full((len(label_R), spec.count), float("-inf"))
    logp_RK[:, 0] = 0.0
    ids_RK = label_R[:, None].expand(-1, spec.count)
    nothing_R = torch.full((len(label_R),), float("-inf"))
    return LikeliestTokens(ids_RK, logp_RK, nothing_R, int(label_R.max()) + 1)


def _sampled(
    draws: Sequence[Draws], spec: TargetSpec, vocabulary: VocabularyMap | None
) -> SampledTargets:
    """Return draws as the loss takes them, in the student's tokens.

    A removed token's draws go to its receiver, as its mass would: the loss's gradient is as
    unbiased as before. The entropy stays that of the teacher's own tokens.
    """
    assert spec.count is not None
    widest = max(d.ids_RU.shape[1] for d in draws)
    ids_NK = torch.cat([_widened(d.ids_RU, widest) for d in draws])
    count_NK = torch.cat([_widened(d.count_RU, widest) for d in draws])
    if vocabulary is not None:
        ids_NK = vocabulary.student_ids_V[ids_NK]
    entropy_N = torch.cat([d.entropy_R for d in draws])
    return SampledTargets(ids_NK, count_NK.float() / spec.count, entropy_N, spec.temperature)


def _widened(table_RU: Tensor, width: int) -> Tensor:
    return F.pad(table_RU, (0, width - table_RU.shape[1]))
