"""The models of a run, loaded when they are first asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch

from potstill.errors import PotstillError
from potstill.exchanges.store import ExchangeStore
from potstill.models.conversation import Conversation
from potstill.models.head import Head
from potstill.models.load import (
    head_of,
    load,
    load_conversation,
    locate,
    stated_by,
    stated_context,
)
from potstill.models.loaded import LoadedModel
from potstill.models.memory import release_freed
from potstill.models.precision import resolve_device
from potstill.models.teacher_tokens import TeacherTokens
from potstill.progress import Progress, Silent
from potstill.terms.gate import Stated, TermsDecision, decide
from potstill.terms.licences import licence_of
from potstill.work.access import Access, Weights


@dataclass(frozen=True)
class Compute:
    """Where and how precisely models compute, and the day that their chat templates write."""

    where: str
    precision: str
    day: str

    @property
    def device(self) -> torch.device:
        """Where models compute."""
        return resolve_device(self.where)

    @property
    def dtype(self) -> torch.dtype:
        """What matrix products are computed in."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    def load(self, who: Weights, *, trainable: bool = False) -> LoadedModel:
        """Return a model as everything in a run computes it."""
        return load(
            who.model,
            device=self.where,
            precision=self.precision,
            revision=who.revision,
            trust_remote_code=who.trust_remote_code,
            template_arguments=who.template_arguments,
            trainable=trainable,
            date=self.day,
        )

    def conversation(self, who: Weights) -> Conversation:
        """Return how a model is spoken to, read without its weights."""
        return load_conversation(
            who.model,
            revision=who.revision,
            trust_remote_code=who.trust_remote_code,
            template_arguments=who.template_arguments,
            date=self.day,
        )


class Opened:
    """The models that a run asks, each loaded once, until `release`.

    `identity` is the teacher's, as the run began with it; None before it was first loaded, which
    `met` is then told. `permit` gives the terms gate's decision about it, which has to allow what
    follows; without it, its own files decide.
    """

    def __init__(
        self,
        access: Access,
        compute: Compute,
        store: ExchangeStore,
        *,
        identity: str | None = None,
        permit: Callable[[], TermsDecision] | None = None,
        met: Callable[[str], object] | None = None,
        progress: Progress = Silent(),
    ) -> None:
        self.access, self.compute, self._store = access, compute, store
        self._identity, self._met = identity, met
        self._permit = permit or self._permitted_by_its_files
        self._progress = progress
        self._teacher: LoadedModel | None = None
        self._parent: LoadedModel | None = None

    @property
    def teacher(self) -> LoadedModel:
        """The teacher in its compute dtype, loaded only after the terms gate has agreed."""
        if self._teacher is None:
            author = self.access.weights
            assert author is not None
            self._permit().require(asks=True)
            with self._progress.step("load teacher"):
                found = self.compute.load(author)
            if self._identity is None:
                self._identity = found.identity
                if self._met is not None:
                    self._met(found.identity)
            elif self._identity != found.identity:
                raise PotstillError(
                    f"the teacher {author.model} is another one than this run began with (its "
                    "weights, config or tokenizer have changed); start over with --fresh, or bring "
                    "it back"
                )
            self._teacher = found
        return self._teacher

    @property
    def parent(self) -> LoadedModel:
        """The model that the student is made from: the teacher, where its weights are at hand."""
        if self.access.weights is not None:
            return self.teacher
        if self._parent is None:
            with self._progress.step("load the student's parent"):
                self._parent = self.compute.load(self.access.parent)
        return self._parent

    def student(self, directory: Path, *, trainable: bool = False) -> LoadedModel:
        """Return a student of this run from its directory."""
        return self.compute.load(Weights(str(directory)), trainable=trainable)

    @property
    def parent_head(self) -> Head:
        """The head of the model that the student is made from.

        A teacher's own where it is loaded, otherwise the stored one.
        """
        if self.access.weights is None:
            return head_of(self.parent)
        if self._teacher is not None:
            return head_of(self._teacher)
        return self._stored_head or head_of(self.teacher)

    @cached_property
    def _stored_head(self) -> Head | None:
        known = self._identity
        if known is None or not self._store.has_head(known):
            return None
        head, device = self._store.head(known), self.compute.device
        bias_V = head.bias_V
        return replace(
            head,
            weight_VD=head.weight_VD.to(device),
            bias_V=None if bias_V is None else bias_V.to(device),
        )

    @cached_property
    def conversation(self) -> Conversation:
        """How the student's parent is spoken to, read without its weights."""
        return self.compute.conversation(self.access.parent)

    @cached_property
    def context(self) -> int:
        """How many tokens the student will read at once, by the files that it is made from."""
        who = self.access.student or self.access.parent
        return stated_context(who.model, revision=who.revision)

    @cached_property
    def served_tokens(self) -> TeacherTokens | None:
        """The tokenizer that a server's likeliest tokens are read by; None where none are kept."""
        if self.access.target_server is None:
            return None
        return TeacherTokens.of(locate(self.access.parent.model))

    def _permitted_by_its_files(self) -> TermsDecision:
        author = self.access.weights
        assert author is not None
        stating = stated_by(author.model, revision=author.revision)
        return decide(author.model, licence_of(stating), Stated())

    def release(self) -> None:
        """Drop the models from memory: what is left needs what is stored of them alone."""
        self._teacher = self._parent = None
        release_freed()
