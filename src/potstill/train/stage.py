"""Train: the student on the teacher's answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from potstill.durable import replaced_directory
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.specs import HIDDEN_FP16, TargetSpec
from potstill.exchanges.targets import LikeliestTokens
from potstill.models.load import context_length, save
from potstill.models.loaded import LoadedModel
from potstill.models.vocabulary import VocabularyMap, teacher_ids_of
from potstill.progress import Progress, Silent
from potstill.recipe import TrainConfig
from potstill.train.examples import TrainingExample
from potstill.train.hidden_matching import HiddenMatching, matching_of, needs_teacher
from potstill.train.live_teacher import LiveTeacher
from potstill.train.loop import LogStep, Validate, train_steps
from potstill.train.own_teacher import OwnTeacher
from potstill.train.own_validation import with_own
from potstill.train.result import TrainResult
from potstill.train.rollouts import Rollouts
from potstill.train.schedule import TrainingPace
from potstill.train.served_teacher import AnswerEnd, ReadsOwnText, ServedTeacher, answer_end
from potstill.train.step_source import Planned
from potstill.train.target_sources import Scorer, StoredTargets, TargetSource, WithOwn
from potstill.train.teacher_blocks import TeacherBlocks
from potstill.work.corpus import Corpus, Text, fitting
from potstill.work.speaking import earlier_answers
from potstill.work.stage_records import TrainedStudent
from potstill.work.step_plan import Order

_LONGER = "longer than what the student reads at once"
# Stored answers whose ends are compared with what a server likes there.
_ENDS_LOOKED_AT = 256


def _logs_nothing(entry: Mapping[str, Any]) -> None:
    """Take a step's figures, and do nothing with them."""


def _untimed(validate: Validate) -> Validate:
    """Return what measures a student as it is."""
    return validate


def _saves_nothing(directory: Path) -> None:
    """Write nothing beside a student."""


@dataclass(frozen=True)
class Training:
    """How one student is trained, and where that is kept.

    `order` is what the orders of the epochs are drawn from.
    `checkpoints` is the directory that a killed training goes on from, `into` the student's.
    `validate` measures it on validation prompts, None where there are none; `unread` counts those
    that it leaves out, by reason. `log` is given each step's figures; `save_beside` writes what
    goes with the student's files. `pace` says after how many steps it ends, where a clock does.
    `timed` has measuring tell how long it took.
    `reads_own` is the server that reads the student's own text, where the teacher's weights are not
    at hand.
    `dropped` are the teacher's blocks that the student was made without, None where it was not cut
    from it.
    """

    config: TrainConfig
    seed: int
    order: Order
    checkpoints: Path
    into: Path
    validate: Validate | None = None
    unread: Mapping[str, int] = field(default_factory=dict)
    log: LogStep = _logs_nothing
    save_beside: Callable[[Path], object] = _saves_nothing
    name: str = "train"
    pace: TrainingPace | None = None
    reads_own: ReadsOwnText | None = None
    dropped: Sequence[int] | None = None
    timed: Callable[[Validate], Validate] = _untimed


def train_student(
    student: LoadedModel,
    corpus: Corpus,
    rows: Sequence[Exchange],
    vocabulary: VocabularyMap | None,
    how: Training,
    progress: Progress = Silent(),
) -> TrainedStudent:
    """Train a student once on the answers `rows`, save what comes out, and return the figures.

    `vocabulary` maps the student's tokens to its teacher's where they were trimmed. Raises
    PotstillError where there is nothing to learn from.
    """
    config, opened = how.config, corpus.opened
    by_text = config.cross_entropy == 1
    learnt = learnt_from(student, corpus, rows, vocabulary, config, progress)
    examples = learnt.examples
    scores = opened.access.weights is not None and learnt.missing > 0
    asks = config.on_policy is not None and opened.access.weights is not None
    if not (learnt.missing or asks or needs_teacher(config)):
        opened.release()
    source, targets = _steps(student, corpus, vocabulary, learnt, how, progress)
    validate = how.validate
    if validate is not None and isinstance(source, Rollouts):
        validate = with_own(validate, source, student, corpus, vocabulary, how.order, progress)
    matching = _matching(student, corpus, vocabulary, how)
    if matching is not None:
        progress.note(f"{how.name}: {matching.said}")
    result = train_steps(
        student,
        source,
        config=config,
        seed=how.seed,
        targets=targets,
        checkpoints=how.checkpoints,
        validate=None if validate is None else how.timed(validate),
        log=how.log,
        progress=progress,
        pace=how.pace,
        matching=matching,
    )
    if result.validated_by is not None and result.kept_step < result.steps:
        progress.note(f"{how.name}: {_kept(result)}")
    with replaced_directory(how.into) as partial_directory:
        save(student, partial_directory)
        how.save_beside(partial_directory)
    return TrainedStudent.model_validate(
        {
            **asdict(result),
            "lengths": [(len(e.prompt_ids), len(e.response_ids)) for e in examples],
            "scored_again": learnt.missing if scores and not by_text else 0,
            "left_out": learnt.left_out,
            "validation_left_out": dict(how.unread),
            "on_policy": source.record() if isinstance(source, Rollouts) else None,
            "hidden_matching": None if matching is None else matching.record(),
        }
    )


def _steps(
    student: LoadedModel,
    corpus: Corpus,
    vocabulary: VocabularyMap | None,
    learnt: Learnt,
    how: Training,
    progress: Progress,
) -> tuple[Planned | Rollouts, TargetSource | None]:
    """Return the steps, and the targets of what they learn from; text alone has none."""
    config, examples = how.config, learnt.examples
    planned = Planned(examples, config, how.order)
    if config.cross_entropy == 1:
        return planned, None
    scores = corpus.opened.access.weights is not None and learnt.missing > 0
    scorer = _scorer(corpus, vocabulary, scores=scores)
    stored = _targets(corpus, _spec(corpus), learnt.stored, scorer, student.compute_dtype)
    stored.prepare([e for e in examples if not e.by_text], progress)
    if config.on_policy is None:
        return planned, stored
    teacher = _own_teacher(student, corpus, vocabulary, learnt, how)
    prompts = [e.prompt_ids for e in examples if not e.by_text]
    room = context_length(student)
    own = Rollouts(planned, config.on_policy, how.order, prompts, teacher, room, steps=config.steps)
    own.check(student)
    progress.note(own.said)
    return own, WithOwn(stored, own)


def _own_teacher(
    student: LoadedModel,
    corpus: Corpus,
    vocabulary: VocabularyMap | None,
    learnt: Learnt,
    how: Training,
) -> OwnTeacher:
    """Return who tells what to make of the student's own text: the teacher, or its server."""
    if corpus.opened.access.weights is not None:
        return LiveTeacher.of(corpus.opened.teacher, vocabulary, student.compute_dtype)
    if how.reads_own is None or vocabulary is not None:
        raise PotstillError(
            "train.on_policy needs somebody who reads what the student writes: a teacher whose "
            "weights are at hand, or a server that reads given text, with the student's vocabulary "
            "whole; take train.on_policy out"
        )
    return ServedTeacher(how.reads_own, _read_ends(corpus, learnt))


def _read_ends(corpus: Corpus, learnt: Learnt) -> list[AnswerEnd]:
    """Return where those stored answers end that a server has told of."""
    read = [e for e in learnt.examples if e.exchange_id in learnt.stored][:_ENDS_LOOKED_AT]
    ids = [e.exchange_id for e in read]
    told = corpus.store.targets(corpus.scorer_identity, _spec(corpus), ids)
    return [
        answer_end(e.response_ids, values)
        for e, values in zip(read, told, strict=True)
        if isinstance(values, LikeliestTokens)
    ]


def _matching(
    student: LoadedModel, corpus: Corpus, vocabulary: VocabularyMap | None, how: Training
) -> HiddenMatching | None:
    """Return how the student's states are matched to its teacher's, None where none are.

    The teacher is loaded only where it has to read the text for it.
    """
    config, opened = how.config, corpus.opened
    if config.hidden_matching is None:
        return None
    reader = TeacherBlocks(opened.teacher, vocabulary) if needs_teacher(config) else None
    last_width = opened.parent_head.weight_VD.shape[1]
    return matching_of(student, config, last_width, how.dropped, reader)


@dataclass(frozen=True)
class Learnt:
    """What a student learns from, in the order that its steps are planned from.

    `stored` are the ids of answers whose targets are stored, `missing` how many lack them, and
    `left_out` how many answers the student learns nothing from.
    """

    examples: list[TrainingExample]
    stored: set[str]
    missing: int
    left_out: int


def learnt_from(
    student: LoadedModel,
    corpus: Corpus,
    rows: Sequence[Exchange],
    vocabulary: VocabularyMap | None,
    config: TrainConfig,
    progress: Progress = Silent(),
) -> Learnt:
    """Return what a student learns of the answers `rows`, and say what becomes of the others.

    Raises PotstillError where there is nothing to learn from.
    """
    by_text = config.cross_entropy == 1
    texts = corpus.texts(rows, student, vocabulary)
    stored = {t.exchange.exchange_id for t in texts if t.unchanged}
    stored &= corpus.store.target_ids(corpus.scorer_identity, _spec(corpus))
    answers = len(texts)
    if corpus.opened.access.weights is None and not by_text:
        texts = _learnable(config, texts, stored, progress)
    alone = set() if by_text else _without_marked_targets(texts, stored, progress)
    texts, too_long = fitting(texts, student)
    stored &= {t.exchange.exchange_id for t in texts}
    if too_long:
        progress.note(f"train: {too_long} of {answers} answers are left out: {_LONGER}")
    examples = [_example(t, alone) for t in texts]
    missing = sum(not e.by_text and e.exchange_id not in stored for e in examples)
    if config.turns == "all":
        examples += _earlier_answers(texts, student, corpus, progress)
    return Learnt(examples, stored, missing, answers - len(texts))


def _spec(corpus: Corpus) -> TargetSpec:
    return corpus.spec or HIDDEN_FP16


def _example(text: Text, alone: set[str]) -> TrainingExample:
    """Return a text as it is learnt: those of `alone` by themselves, without a distribution."""
    key = text.exchange.exchange_id
    return TrainingExample(key, text.prompt_ids, text.response_ids, by_text=key in alone)


def _without_marked_targets(
    texts: Sequence[Text], stored: set[str], progress: Progress
) -> set[str]:
    """Return the marked answers without stored targets, which teach by their text; says so.

    The teacher, asked again, would tell its distribution without the mark.
    """
    marked = {t.exchange.exchange_id for t in texts if t.exchange.watermark_key_id is not None}
    without = marked - stored
    if without:
        progress.note(
            f"train: {len(without)} of {len(marked)} marked answers have no targets at the "
            "student's tokens and teach by their text alone, since the teacher would read them "
            "without the mark"
        )
    return without


def _scorer(corpus: Corpus, vocabulary: VocabularyMap | None, *, scores: bool) -> Scorer:
    """Return whose targets are learnt; its model is loaded only where it has to score text."""
    opened = corpus.opened
    return Scorer(
        corpus.scorer_identity,
        opened.parent_head if opened.access.weights is not None else None,
        vocabulary,
        opened.teacher if scores else None,
        partial(teacher_ids_of, vocabulary),
    )


def _targets(
    corpus: Corpus, spec: TargetSpec, stored: set[str], scorer: Scorer, dtype: torch.dtype
) -> StoredTargets:
    """Return where targets come from: the store, beside it the teacher, or a server's text."""
    from_text = corpus.opened.access.weights is None
    return StoredTargets(corpus.store, spec, stored, scorer, dtype, from_text=from_text)


def _kept(result: TrainResult) -> str:
    """Say which student is kept where it is not that of the last step."""
    names = {
        "kl": "KL a token from the teacher",
        "own_kl": "KL a token from the teacher on its own answers",
        "kl_both": "KL a token from the teacher, mean of that on either's answers,",
        "nll": "negative log-likelihood a token",
    }
    which = (
        "the untrained student is kept, since training did not make it better"
        if result.kept_step == 0
        else f"the student of step {result.kept_step} of {result.steps} is kept"
    )
    points = {
        "before training": result.validation_before,
        "as kept": result.validation_kept,
        "after the last step": result.validation_last,
    }
    said = ", ".join(f"{value:.4g} {when}" for when, value in points.items() if value is not None)
    return f"{which}; {names[str(result.validated_by)]} on validation prompts is {said}"


def _earlier_answers(
    texts: Sequence[Text], student: LoadedModel, corpus: Corpus, progress: Progress
) -> list[TrainingExample]:
    """Return the earlier answers of the talks as examples of their own, and say how many.

    Each is rendered as it is where it comes last, which is how the student will be asked; one that
    several talks begin with counts once.
    """
    found = earlier_answers(texts, student.conversation, corpus.reasoning)
    room = context_length(student)
    examples = [
        TrainingExample(answer.key, answer.prompt_ids, answer.response_ids, by_text=True)
        for answer in found.examples
    ]
    kept = {e.exchange_id: e for e in examples if e.length <= room}
    others = {
        "cannot be rendered": found.refused,
        _LONGER: len({e.exchange_id for e in examples}) - len(kept),
    }
    said = "".join(f"; {count} left out: {why}" for why, count in others.items() if count)
    progress.note(
        f"train: {len(kept)} earlier answers of talks are learnt by cross-entropy, since there are "
        f"no distributions of them{said}"
    )
    return list(kept.values())


def _learnable(
    config: TrainConfig, texts: Sequence[Text], stored: set[str], progress: Progress
) -> list[Text]:
    """Return the answers of a server to learn from, and say what becomes of those without targets.

    `stored` are those with targets; the others teach by their text alone. That is the forward KL
    to a distribution which is certain of each token; other divergences from it are something else,
    or infinite, so that under these objectives they are left out. Raises PotstillError where no
    answer has targets.
    """
    without = len(texts) - len(stored)
    if not stored:
        raise PotstillError(
            f"none of the {len(texts)} answers to train on has the server's likeliest tokens; set "
            "train.cross_entropy to 1 to learn from their text alone, or see that the server "
            "gives log-probabilities and student.model has the teacher's tokenizer"
        )
    if not without:
        return list(texts)
    said = f"{without} of {len(texts)} answers have no likeliest tokens"
    if config.objective == "forward_kl":
        progress.note(f"train: {said} and teach by their text alone")
        return list(texts)
    progress.note(
        f"train: {said} and are left out, since {config.objective} cannot be had from text; "
        "train.objective forward_kl would learn from it"
    )
    return [t for t in texts if t.exchange.exchange_id in stored]
