"""One run while it is worked on: what the stages need, opened when it is first asked for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from potstill.collect.calls import require_terms
from potstill.endpoint.identity import endpoint_identity
from potstill.errors import PotstillError
from potstill.evaluate.cost import EnergyMeter
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.specs import HIDDEN_FP16, HIDDEN_INT8
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import HiddenStates
from potstill.logs.reading import Log, read_calls
from potstill.models.conversation import Conversation
from potstill.models.head import Head
from potstill.models.load import head_of, load, load_conversation, locate
from potstill.models.loaded import LoadedModel
from potstill.models.memory import release_freed
from potstill.models.precision import resolve_device, resolve_dtype
from potstill.models.teacher_tokens import TeacherTokens
from potstill.models.vocabulary import Recoder, VocabularyMap
from potstill.progress import Progress
from potstill.recipe import Recipe
from potstill.terms.calls import evidence_of_calls
from potstill.terms.gate import TermsDecision, decide, own_answers
from potstill.terms.licences import licence_of
from potstill.terms.surfaces import evidence_of_endpoint
from potstill.text.reasoning import answer_of
from potstill.work.corpus import Text, tokenised
from potstill.work.plan import PromptPlan
from potstill.work.rundir import CHECKED, RunDir
from potstill.work.spoken import spoken_since
from potstill.work.target_specs import training_spec


class Job:
    """A run directory, its recipe, and what was opened for it."""

    def __init__(self, run: RunDir, recipe: Recipe, progress: Progress) -> None:
        self.run, self.recipe, self.progress = run, recipe, progress
        self.store = ExchangeStore(run.root)

    @cached_property
    def decision(self) -> TermsDecision:
        """The terms gate's answer, before the teacher is asked anything.

        It goes by the teacher's own files; where there are none, by what the recipe says of the
        answers' source, or by the server's host and the model's name.
        """
        stated, calls = self.recipe.teacher, self.recipe.collect.calls
        if self.recipe.reads_given:
            self.scorer_decision.require()
        if self.recipe.collect.gold:
            return own_answers(stated.model)
        if calls is not None and calls.use == "exchanges":
            found = evidence_of_calls(calls.source, self.calls.models)
            decision = decide(self.calls.name, found, calls.terms)
            require_terms(decision)
            return decision
        if stated.endpoint is not None:
            return self.scorer_decision.require()
        directory = locate(stated.model, revision=stated.revision)
        return decide(stated.model, licence_of(directory), stated.terms).require()

    @cached_property
    def scorer_decision(self) -> TermsDecision:
        """The terms gate's answer about the model that a server serves."""
        stated = self.recipe.teacher
        assert stated.endpoint is not None
        served = evidence_of_endpoint(stated.endpoint.url, stated.model)
        return decide(stated.model, served, stated.terms)

    @cached_property
    def precision(self) -> str:
        """`fp32` or `bf16`: measured by the run's first call, then kept: it resumes alike."""
        known = self.run.done("precision")
        if known is None:
            device = resolve_device(self.recipe.device)
            dtype = resolve_dtype(self.recipe.precision, device)
            known = {"precision": "bf16" if dtype == torch.bfloat16 else "fp32"}
            self.run.finish("precision", known)
        return str(known["precision"])

    @cached_property
    def calls(self) -> Log:
        """The stored calls that the recipe names."""
        stated = self.recipe.collect.calls
        assert stated is not None
        return read_calls(stated)

    @cached_property
    def day(self) -> str:
        """The day that chat templates write, for the whole run: the day on which it began."""
        return spoken_since(self.run)

    @property
    def device(self) -> torch.device:
        """Where models compute."""
        return resolve_device(self.recipe.device)

    @property
    def compute_dtype(self) -> torch.dtype:
        """What matrix products are computed in."""
        return torch.bfloat16 if self.precision == "bf16" else torch.float32

    @cached_property
    def teacher(self) -> LoadedModel:
        """The teacher in its compute dtype, loaded only after the terms gate has agreed."""
        self.decision.require()
        stated = self.recipe.teacher
        with self.progress.step("load teacher"):
            teacher = load(
                stated.model,
                device=self.recipe.device,
                precision=self.precision,
                revision=stated.revision,
                trust_remote_code=stated.trust_remote_code,
                template_arguments=stated.template_arguments,
                date=self.day,
            )
        known = self.run.done("teacher")
        if known is None:
            self.run.finish("teacher", {"identity": teacher.identity})
        elif known["identity"] != teacher.identity:
            raise PotstillError(
                f"the teacher {stated.model} is another one than this run began with (its weights, "
                "config or tokenizer have changed); start over with --fresh, or bring it back"
            )
        return teacher

    @property
    def open(self) -> bool:
        """Whether the teacher's weights are at hand; a server's are not, nor are past calls'."""
        return not self.recipe.text_only

    @cached_property
    def parent(self) -> LoadedModel:
        """The model that the student is made from: the teacher, where its weights are at hand."""
        if self.open:
            return self.teacher
        named = self.recipe.student.model
        assert named is not None
        with self.progress.step("load the student's parent"):
            return load(
                named,
                device=self.recipe.device,
                precision=self.precision,
                template_arguments=self.recipe.student.template_arguments,
                date=self.day,
            )

    @property
    def teacher_identity(self) -> str:
        """The identity of who answered, as the run's first call found it."""
        known = self.run.done("teacher")
        if self.recipe.teacher.endpoint is not None and not self.recipe.collect.answers_given:
            return self.scorer_identity
        return str(known["identity"]) if known else self.teacher.identity

    @property
    def scorer_identity(self) -> str:
        """The identity of whose distributions are learnt from: another's, where a server read."""
        endpoint = self.recipe.teacher.endpoint
        if endpoint is None:
            return self.teacher_identity
        return endpoint_identity(endpoint.provider, self.recipe.teacher.model, endpoint.revision)

    @property
    def teacher_head(self) -> Head:
        """The teacher's head: its own where it is loaded, otherwise the stored one."""
        return head_of(self.teacher) if "teacher" in self.__dict__ else self._stored_head

    @property
    def parent_head(self) -> Head:
        """The head of the model that the student is made from."""
        return self.teacher_head if self.open else head_of(self.parent)

    @cached_property
    def _stored_head(self) -> Head:
        if not self.store.has_head(self.teacher_identity):
            return head_of(self.teacher)
        head = self.store.head(self.teacher_identity)
        device, bias_V = resolve_device(self.recipe.device), head.bias_V
        return replace(
            head,
            weight_VD=head.weight_VD.to(device),
            bias_V=None if bias_V is None else bias_V.to(device),
        )

    @cached_property
    def spoken(self) -> Conversation:
        """How the student's parent is spoken to, read without its weights."""
        stated = self.recipe.teacher
        if self.open:
            return load_conversation(
                stated.model,
                revision=stated.revision,
                trust_remote_code=stated.trust_remote_code,
                template_arguments=stated.template_arguments,
                date=self.day,
            )
        student = self.recipe.student
        assert student.model is not None
        return load_conversation(
            student.model, template_arguments=student.template_arguments, date=self.day
        )

    @cached_property
    def served_tokens(self) -> TeacherTokens | None:
        """The tokenizer that a server's likeliest tokens are read by; None where none are kept."""
        named = self.recipe.student.model
        if not self.recipe.served_targets or named is None:
            return None
        return TeacherTokens.of(locate(named))

    def _with_server_targets(self) -> set[str]:
        """Return the exchanges that have targets, where a server reads given text at all."""
        endpoint = self.recipe.teacher.endpoint
        spec = training_spec(self.recipe.collect, self.recipe.train.temperature)
        if endpoint is None or not endpoint.scores_text or spec is None:
            return set()
        return self.store.target_ids(self.scorer_identity, spec)

    def require_checked(self, field: str, identity: str) -> None:
        """Raise PotstillError where a model is no longer the one that was checked at the start."""
        known = (self.run.done(CHECKED) or {}).get("models", {}).get(field, identity)
        if known != identity:
            raise PotstillError(
                f"{field} has changed since this run began (its weights, config or tokenizer); "
                "bring it back, or start over with --fresh"
            )

    def learnt_whole(self, row: Exchange) -> bool:
        """Tell whether nothing of an answer is left out (reasoning) of what is learnt."""
        if row.reasoning:
            return False
        return self.recipe.curate.reasoning == "keep" or answer_of(row) == row.response

    def release_teacher(self) -> None:
        """Drop the teacher from memory: what is left needs its stored targets alone."""
        for name in ("teacher", "parent"):
            self.__dict__.pop(name, None)
        release_freed()

    def load_student(self, directory: Path, *, trainable: bool = False) -> LoadedModel:
        """Return a student of this run from its directory."""
        return load(
            str(directory),
            device=self.recipe.device,
            precision=self.precision,
            trainable=trainable,
            date=self.day,
        )

    @property
    def untrained(self) -> Path:
        """Directory of the student before training."""
        return self.run.root / "untrained"

    @property
    def vocabulary_path(self) -> Path:
        """File of the map between the two vocabularies, where the student's was trimmed."""
        return self.run.root / "vocabulary.safetensors"

    @cached_property
    def vocabulary(self) -> VocabularyMap | None:
        """The map between the two vocabularies; None where they are the same."""
        path = self.vocabulary_path
        return VocabularyMap.load(path) if path.is_file() else None

    @property
    def learns_text_alone(self) -> bool:
        """Whether the student learns from text, without the teacher's distributions."""
        return self.recipe.train.cross_entropy == 1

    def exchanges(self, split: str, *, greedy: bool | None = None) -> list[Exchange]:
        """Return the exchanges of a split that curation kept, by exchange id."""
        dropped = {mark.exchange_id for mark in self.store.marks() if not mark.kept}
        rows = [r for r in self.store.read(split) if r.exchange_id not in dropped]  # type: ignore[arg-type]
        if greedy is not None:
            rows = [r for r in rows if (r.sampling["temperature"] == 0) == greedy]
        if split == "held_out" and not self.recipe.collect.answers_given:
            rows = [r for r in rows if self._measured_on(r)]
        return rows

    def _measured_on(self, row: Exchange) -> bool:
        """Tell whether a held-out answer is one that the recipe asks for as it is now.

        Answers that it asked for before it was changed stay in the store.
        """
        evaluate, stated = self.recipe.evaluate, self.recipe.teacher
        if row.sampling.get("max_tokens", evaluate.max_tokens) != evaluate.max_tokens:
            return False
        all_count = stated.endpoint is not None and self.recipe.task is not None
        if evaluate.fidelity_prompts is None or (all_count and row.sampling["temperature"] == 0):
            return True
        return row.prompt_id in self._fidelity_prompts

    @cached_property
    def _fidelity_prompts(self) -> frozenset[str]:
        held_out = PromptPlan.from_record(self.run.done("prompts") or {}).held_out
        return frozenset(p.prompt_id for p in held_out[: self.recipe.evaluate.fidelity_prompts])

    def texts(self, rows: Sequence[Exchange], student: LoadedModel) -> list[Text]:
        """Return exchanges in the student's ids.

        Responses keep the teacher's tokens wherever they survive; prompts are tokenised as the
        student will meet them. What a teacher without weights wrote is tokenised as a whole,
        unless its server told which tokens they were.
        """
        if not self.open:
            read = self._with_server_targets()
            return [self._served_text(row, student, row.exchange_id in read) for row in rows]
        if self.vocabulary is None:
            return [Text(row, *row.ids, True) for row in rows]
        recoder = Recoder(self.spoken.tokenizer, student.tokenizer, self.vocabulary)
        texts = []
        for row in rows:
            prompt = student.conversation.prompt_ids(row.messages, row.tool_list)
            response = recoder.to_student(row.ids[1])
            same = (recoder.to_teacher(prompt), recoder.to_teacher(response)) == row.ids
            texts.append(Text(row, prompt, response, same))
        return texts

    def _served_text(self, row: Exchange, student: LoadedModel, read: bool) -> Text:
        """Return what a teacher without weights wrote, by its own ids where these are known.

        Targets stand at the server's tokens: the same text may be cut up in another way. Text that
        was `read` by the server has them at the tokens that it is cut up into here.
        """
        tokens, how = self.served_tokens, self.recipe.curate.reasoning
        if self.learnt_whole(row) and tokens is not None and self.vocabulary is None:
            if row.tokenizer == tokens.tokenizer_id:
                prompt = student.conversation.prompt_ids(row.messages, row.tool_list)
                return Text(row, prompt, row.ids[1], True)
            if read and row.response_token_ids is None:
                return replace(tokenised(row, student.conversation, how), unchanged=True)
        return tokenised(row, student.conversation, how)

    def parent_ids(self, split: str) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """Return (prompt ids, response ids) of a split in the tokens of the student's parent."""
        rows = self.exchanges(split)
        if self.open:
            return [row.ids for row in rows]
        return [(t.prompt_ids, t.response_ids) for t in self.texts(rows, self.parent)]

    def to_teacher(self, student_ids: Sequence[int]) -> tuple[int, ...]:
        """Return the teacher's ids of a student's."""
        if self.vocabulary is None:
            return tuple(student_ids)
        return tuple(self.vocabulary.teacher_ids_K[list(student_ids)].tolist())

    def hidden(self, rows: Sequence[Exchange]) -> list[Tensor | None]:
        """Return the stored states hidden_RD of exchanges, None where there are none."""
        found: dict[str, Tensor] = {}
        for spec in (HIDDEN_INT8, HIDDEN_FP16):
            stored = self.store.target_ids(self.teacher_identity, spec)
            known = [r.exchange_id for r in rows if r.exchange_id in stored]
            values = self.store.targets(self.teacher_identity, spec, known)
            for key, value in zip(known, values, strict=True):
                assert isinstance(value, HiddenStates)
                found[key] = value.hidden_RD
        return [found.get(r.exchange_id) for r in rows]

    @contextmanager
    def measured(self) -> Iterator[dict[str, Any]]:
        """Fill in `seconds` and `joules` of what runs inside the block."""
        meter, start = EnergyMeter(), time.perf_counter()
        result: dict[str, Any] = {}
        try:
            yield result
        finally:
            result["seconds"] = time.perf_counter() - start
            result["joules"] = meter.joules()
