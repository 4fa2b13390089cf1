"""What one recipe and its directory make: who can be asked, what is open, what is stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import torch

from potstill.collect.calls import require_terms
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, Split
from potstill.exchanges.store import ExchangeStore
from potstill.logs.reading import Log, read_calls
from potstill.models.load import stated_by
from potstill.models.precision import resolve_device, resolve_dtype
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Progress
from potstill.recipe import Recipe
from potstill.runs.callbacks import Callback
from potstill.terms.calls import evidence_of_calls
from potstill.terms.facts import packaged_facts
from potstill.terms.gate import Stated, TermsDecision, decide, own_answers, own_weights
from potstill.terms.licences import licence_of
from potstill.terms.statements import read_statement
from potstill.terms.surfaces import evidence_of_endpoint
from potstill.train.schedule import TrainingPace
from potstill.work.access import Access, PastCalls, RightAnswers, Server, Weights
from potstill.work.corpus import Corpus
from potstill.work.mark import TrainingMark, training_mark
from potstill.work.once import CutOnce
from potstill.work.opened import Compute, Opened
from potstill.work.plan import PromptPlan
from potstill.work.records import Checked, Precision, Prompts, Teacher, Unasked, Watermark
from potstill.work.rundir import RunDir
from potstill.work.spoken import spoken_since
from potstill.work.stated import permission
from potstill.work.target_specs import training_spec


class Parts:
    """A run directory, its recipe, and what was opened for it."""

    def __init__(
        self,
        run: RunDir,
        recipe: Recipe,
        progress: Progress,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.run, self.recipe, self.progress = run, recipe, progress
        self.callbacks = callbacks
        self.cut = CutOnce()
        # What ends the training by the clock, where one has a say in it.
        self.pace: TrainingPace | None = None
        self.store = ExchangeStore(run.root)
        self.access = Access.of(recipe)

    @cached_property
    def decision(self) -> TermsDecision:
        """The terms gate's answer, before the teacher is asked anything.

        It goes by the teacher's own files; where there are none, by what the recipe says of the
        answers' source, or by the server's host and the model's name.
        """
        if self.access.reader is not None:
            self.scorer_decision.require()
        match self.access.author:
            case RightAnswers(model):
                return own_answers(model)
            case PastCalls(calls=calls):
                found = evidence_of_calls(
                    calls.source, self.calls.models, setting="collect.calls.source"
                )
                stated = permission(calls.terms, self.recipe.student, "collect.calls")
                decision = decide(self.calls.name, found, stated)
                require_terms(decision)
                return decision
            case Server():
                return self.scorer_decision.require()
            case Weights(model, revision):
                licence = licence_of(stated_by(model, revision=revision))
                return decide(model, licence, self._permission).require()

    @cached_property
    def scorer_decision(self) -> TermsDecision:
        """The terms gate's answer about the model that a server serves."""
        server = self.access.server
        assert server is not None
        served = evidence_of_endpoint(server.endpoint.url, server.model)
        return decide(server.model, served, self._permission)

    @cached_property
    def base_decision(self) -> TermsDecision:
        """The terms gate's answer about the weights that the student is made from.

        An authorisation is looked at only where their own licence does not settle it.
        """
        base, named = self.access.student or self.access.parent, self.recipe.student.licence
        found = licence_of(stated_by(base.model, revision=base.revision))
        stated = self._permission
        if named is not None and not found:
            if named.strip().lower() == "own":
                return own_weights(base.model, stated.use)
            found = tuple(read_statement(named, "student.licence", packaged_facts()))
        alone = decide(base.model, found, replace(stated, authorisation=None), role="base")
        return alone if alone.permitted else decide(base.model, found, stated, role="base")

    @cached_property
    def earlier_decision(self) -> TermsDecision | None:
        """The terms gate's answer about a log whose prompts hold earlier answers that are learnt.

        None where no such answers are.
        """
        calls = self.recipe.collect.calls
        if calls is None or calls.use != "prompts" or self.recipe.train.turns != "all":
            return None
        stated = permission(calls.terms, self.recipe.student, "collect.calls")
        found = evidence_of_calls(calls.source, self.calls.models, setting="collect.calls.source")
        return decide(self.calls.name, found, stated)

    @property
    def _permission(self) -> Stated:
        return permission(self.recipe.teacher.terms, self.recipe.student)

    @cached_property
    def compute(self) -> Compute:
        """How models compute in this run.

        The precision is measured by the run's first call, then kept: it resumes alike. The day
        that chat templates write is the one on which the run began.
        """
        known = self.run.done(Precision)
        if known is None:
            dtype = resolve_dtype(self.recipe.precision, resolve_device(self.recipe.device))
            known = Precision(precision="bf16" if dtype == torch.bfloat16 else "fp32")
            self.run.finish(known)
        return Compute(self.recipe.device, known.precision, spoken_since(self.run))

    @cached_property
    def opened(self) -> Opened:
        """The models of the run."""
        known = self.run.done(Teacher)
        return Opened(
            self.access,
            self.compute,
            self.store,
            identity=None if known is None else known.identity,
            permit=lambda: self.decision,
            met=lambda identity: self.run.finish(Teacher(identity=identity)),
            progress=self.progress,
        )

    @property
    def author_identity(self) -> str:
        """The identity of who answered, as the run's first call found it."""
        server, known = self.access.server, self.run.done(Teacher)
        if server is not None and self.access.reader is None:
            return server.identity
        return known.identity if known else self.opened.teacher.identity

    @cached_property
    def corpus(self) -> Corpus:
        """The answers of the run, which have been collected."""
        return Corpus(
            self.store,
            self.opened,
            self.author_identity,
            training_spec(self.recipe.collect, self.recipe.train.temperature),
            self.recipe.curate.reasoning,
            self._measured_on,
            self.cut,
        )

    def next_stage(self) -> None:
        """Let go of what a stage has read of the store: it may change before the next reads it."""
        self.__dict__.pop("corpus", None)

    @property
    def plan(self) -> PromptPlan:
        """The run's prompts, which have been planned."""
        kept = self.run.done(Prompts)
        assert kept is not None
        return PromptPlan.of(kept)

    def unasked(self, split: Split) -> int:
        """Return how many prompts of a split were never asked, for want of room for an answer."""
        left_out = self.run.done(Unasked)
        return 0 if left_out is None else int(getattr(left_out, split))

    @cached_property
    def mark(self) -> TrainingMark | None:
        """The mark of training answers, its key read; None where the recipe names no key."""
        return training_mark(self.recipe.collect.watermark, self.run.done(Watermark))

    @cached_property
    def calls(self) -> Log:
        """The stored calls that the recipe names."""
        stated = self.recipe.collect.calls
        assert stated is not None
        return read_calls(stated)

    def require_checked(self, field: str, identity: str) -> None:
        """Raise PotstillError where a model is no longer the one that was checked at the start."""
        known = _models(self.run).get(field, identity)
        if known != identity:
            raise PotstillError(
                f"{field} has changed since this run began (its weights, config or tokenizer); "
                "bring it back, or start over with --fresh"
            )

    @property
    def untrained(self) -> Path:
        """Directory of the student before training."""
        return self.run.root / "untrained"

    @property
    def vocabulary_path(self) -> Path:
        """File of the map between the two vocabularies, where the student's was trimmed."""
        return self.run.root / "vocabulary.safetensors"

    @property
    def vocabulary(self) -> VocabularyMap | None:
        """The map between the two vocabularies; None where they are the same."""
        path = self.vocabulary_path
        return VocabularyMap.load(path) if path.is_file() else None

    def _measured_on(self, row: Exchange) -> bool:
        """Tell whether a held-out answer is one that the recipe asks for as it is now.

        Answers that it asked for before it was changed stay in the store.
        """
        evaluate = self.recipe.evaluate
        if not self.access.author.can_answer:
            return True
        if row.sampling.get("max_tokens", evaluate.max_tokens) != evaluate.max_tokens:
            return False
        all_count = self.access.server is not None and self.recipe.task is not None
        if evaluate.fidelity_prompts is None or (all_count and row.sampling["temperature"] == 0):
            return True
        return row.prompt_id in self._fidelity_prompts

    @cached_property
    def _fidelity_prompts(self) -> frozenset[str]:
        held_out = self.plan.held_out
        return frozenset(p.prompt_id for p in held_out[: self.recipe.evaluate.fidelity_prompts])


def _models(run: RunDir) -> dict[str, str]:
    """Return the identities of the models that were checked, by their fields."""
    checked = run.done(Checked)
    return {} if checked is None else checked.models
