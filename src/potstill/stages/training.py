"""Train: the student on the teacher's answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from potstill.durable import replaced_directory
from potstill.errors import PotstillError
from potstill.exchanges.specs import HIDDEN_FP16, TargetSpec
from potstill.job import Job
from potstill.models.load import context_length, locate, save
from potstill.models.loaded import LoadedModel
from potstill.recipe import TrainConfig
from potstill.stages.inputs import text_validation, validation
from potstill.stages.left_out import left_out
from potstill.stages.speaking import earlier_answers
from potstill.terms.gate import decide, stricter
from potstill.terms.licences import licence_of
from potstill.train.examples import TrainingExample
from potstill.train.loop import TrainResult, Validate, train
from potstill.train.target_sources import Scorer, StoredTargets
from potstill.work.corpus import Text, fitting
from potstill.work.plan import PromptPlan
from potstill.work.target_specs import training_spec

_LONGER = "longer than what the student reads at once"


def train_students(job: Job) -> dict[str, Any]:
    """Train the student, and the baseline on text alone where asked; return the figures."""
    result = train_student(job, job.recipe.train, "checkpoints", job.run.student, log_as=None)
    if job.recipe.evaluate.cross_entropy_baseline:
        text_only = job.recipe.train.model_copy(update={"cross_entropy": 1.0})
        directory = job.run.root / "cross_entropy"
        result["cross_entropy"] = train_student(
            job, text_only, "checkpoints-cross-entropy", directory, log_as="cross_entropy"
        )
    return result


def train_student(
    job: Job, config: TrainConfig, checkpoints: str, directory: Path, *, log_as: str | None
) -> dict[str, Any]:
    """Train the untrained student once and save what comes out; return the figures."""
    student = job.load_student(job.untrained, trainable=True)
    only_text = config.cross_entropy == 1
    texts = job.texts(job.exchanges("train"), student)
    spec = training_spec(job.recipe.collect, config.temperature) or HIDDEN_FP16
    stored = {t.exchange.exchange_id for t in texts if t.unchanged}
    stored &= job.store.target_ids(job.scorer_identity, spec)
    answers = len(texts)
    if not job.open and not only_text:
        texts = _learnable(job, config, texts, stored)
    texts, too_long = fitting(texts, student)
    stored &= {t.exchange.exchange_id for t in texts}
    if too_long:
        job.progress.note(f"train: {too_long} of {answers} answers are left out: {_LONGER}")
    examples = [
        TrainingExample(t.exchange.exchange_id, t.prompt_ids, t.response_ids) for t in texts
    ]
    if config.turns == "all":
        examples += _earlier_answers(job, texts, student)
    validate, unread = _validation(job, student)
    targets = None
    scores = job.open and len(stored) < len(texts)
    if len(stored) == len(texts):
        job.release_teacher()
    if not only_text:
        targets = _target_source(job, spec, stored, student.compute_dtype, scores=scores)
        targets.prepare([e for e in examples if not e.by_text], job.progress)

    def log(entry: dict[str, Any]) -> None:
        job.run.log({**entry, **({"student": log_as} if log_as else {})})

    result = train(
        student,
        examples,
        config=config,
        seed=job.recipe.seed,
        targets=targets,
        checkpoints=job.run.root / checkpoints,
        validate=validate,
        log=log,
        progress=job.progress,
    )
    name = "train" if log_as is None else f"train: {log_as.replace('_', ' ')}"
    if result.validated_by is not None and result.kept_step < result.steps:
        job.progress.note(f"{name}: {_kept(result)}")
    with replaced_directory(directory) as partial:
        save(student, partial)
        _state_licence(job, partial)
    return {
        **asdict(result),
        "lengths": [[len(e.prompt_ids), len(e.response_ids)] for e in examples],
        "scored_again": len(texts) - len(stored) if scores and not only_text else 0,
        "left_out": answers - len(texts),
        "validation_left_out": unread,
    }


def _validation(job: Job, student: LoadedModel) -> tuple[Validate | None, dict[str, int]]:
    """Return what measures the student on validation prompts, and which it leaves out, and why.

    Without any such answer nothing is measured, and the student of the last step is kept; says so.
    """
    plan = PromptPlan.from_record(job.run.done("prompts") or {})
    rows = job.exchanges("validation")
    texts, _ = fitting(job.texts(rows, student), student)
    read = {text.exchange.prompt_id for text in texts}
    unread = left_out(job, "validation", plan.validation, read, greedy=None)
    if not rows:
        job.progress.note(
            "train: there is no answer to a validation prompt, so that whether training makes the "
            "student better is not watched, and the student of the last step is kept"
        )
        return None, unread
    measure = validation(job) if job.open else text_validation(job)
    vocabulary = job.vocabulary
    return lambda model: measure(model, vocabulary), unread


def _kept(result: TrainResult) -> str:
    """Say which student is kept where it is not that of the last step."""
    names = {"kl": "KL a token from the teacher", "nll": "negative log-likelihood a token"}
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
    job: Job, texts: Sequence[Text], student: LoadedModel
) -> list[TrainingExample]:
    """Return the earlier answers of the talks as examples of their own, and say how many.

    Each is rendered as it is where it comes last, which is how the student will be asked; one that
    several talks begin with counts once.
    """
    found = earlier_answers(texts, student.conversation, job.recipe.curate.reasoning)
    room = context_length(student)
    kept = {e.exchange_id: e for e in found.examples if e.length <= room}
    others = {
        "cannot be rendered": found.refused,
        _LONGER: len({e.exchange_id for e in found.examples}) - len(kept),
    }
    said = "".join(f"; {count} left out: {why}" for why, count in others.items() if count)
    job.progress.note(
        f"train: {len(kept)} earlier answers of talks are learnt by cross-entropy, since there are "
        f"no distributions of them{said}"
    )
    return list(kept.values())


def _target_source(
    job: Job, spec: TargetSpec, stored: set[str], dtype: torch.dtype, *, scores: bool
) -> StoredTargets:
    """Return where targets come from: the store, beside it the teacher, or a server's text."""
    scorer = Scorer(
        job.scorer_identity,
        job.teacher_head if job.open else None,
        job.vocabulary,
        job.teacher if scores else None,
        job.to_teacher,
    )
    return StoredTargets(job.store, spec, stored, scorer, dtype, from_text=not job.open)


def _learnable(
    job: Job, config: TrainConfig, texts: Sequence[Text], stored: set[str]
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
        job.progress.note(f"train: {said} and teach by their text alone")
        return list(texts)
    job.progress.note(
        f"train: {said} and are left out, since {config.objective} cannot be had from text; "
        "train.objective forward_kl would learn from it"
    )
    return [t for t in texts if t.exchange.exchange_id in stored]


def _state_licence(job: Job, directory: Path) -> None:
    """Write which licence the student's weights came under, for whoever distils it again.

    Only where one licence without conditions holds for the weights and for the answers learnt
    from; anything else is for a person to judge.
    """
    stated = job.decision
    if job.recipe.reads_given:
        stated = stricter(stated, job.scorer_decision)
    named = job.recipe.student.model
    if named is not None:
        weights = decide(named, licence_of(locate(named)), job.recipe.teacher.terms)
    else:
        weights = stated
    if {stated.outcome, weights.outcome} == {"allow"} and len(weights.licences) == 1:
        source = {"made_by": "potstill", "run": job.recipe.name, "license": weights.licences[0]}
        (directory / "potstill-source.json").write_text(json.dumps(source, indent=1))
