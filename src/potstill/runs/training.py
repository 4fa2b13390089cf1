"""Train: the student, and the baseline on text alone, by what the run has open."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from potstill.collect.served.own_text import OwnTextReader
from potstill.evaluate.validation import text_validation, validation
from potstill.models.loaded import LoadedModel
from potstill.recipe import TrainConfig
from potstill.runs.collecting import PAID, text_reader
from potstill.runs.minutes.pace import ClockedPace, RecordedPace
from potstill.runs.order import order_of
from potstill.runs.parts import Parts
from potstill.runs.student_terms import state_terms
from potstill.train.loop import Validate
from potstill.train.stage import Training, train_student
from potstill.work.corpus import fitting
from potstill.work.left_out import left_out
from potstill.work.stage_records import UNMEASURED, ShrinkRecord, TrainedStudent, TrainRecord
from potstill.work.time_plan import TimePlan


def train_students(parts: Parts) -> TrainRecord:
    """Train the student, and the baseline on text alone where asked; return the figures."""
    config, root = parts.recipe.train, parts.run.root
    student = train_once(parts, config, "checkpoints", parts.run.student)
    values = student.model_dump(mode="json")
    if parts.recipe.evaluate.cross_entropy_baseline:
        by_text = config.model_copy(
            update={"cross_entropy": 1.0, "on_policy": None, "hidden_matching": None}
        )
        baseline = train_once(
            parts,
            by_text,
            "checkpoints-cross-entropy",
            root / "cross_entropy",
            log_as="cross_entropy",
        )
        values["cross_entropy"] = baseline.model_dump(mode="json")
    return TrainRecord.model_validate({**values, **UNMEASURED})


def train_once(
    parts: Parts,
    config: TrainConfig,
    checkpoints: str,
    into: Path,
    *,
    log_as: str | None = None,
) -> TrainedStudent:
    """Train the untrained student once, and return the figures."""
    student = parts.opened.student(parts.untrained, trainable=True)
    validate, unread = _validation(parts, student)

    pace = parts.pace
    if pace is not None and log_as is not None:
        # The baseline has as many steps as the student had.
        plan = parts.run.done(TimePlan)
        pace = RecordedPace(() if plan is None else plan.legs)

    def log(entry: dict[str, Any]) -> None:
        logged = {**entry, **({"student": log_as} if log_as else {})}
        parts.run.log(logged)
        for callback in parts.callbacks:
            callback.logged(logged)

    how = Training(
        config,
        parts.recipe.seed,
        order_of(parts.run, parts.recipe, parts.progress),
        parts.run.root / checkpoints,
        into,
        validate,
        unread,
        log,
        partial(state_terms, parts),
        "train" if log_as is None else f"train: {log_as.replace('_', ' ')}",
        pace,
        None if config.on_policy is None else _reads_own(parts, parts.run.root / checkpoints),
        _dropped(parts),
        **({"timed": partial(_timed, pace=pace)} if isinstance(pace, ClockedPace) else {}),
    )
    rows = parts.corpus.exchanges("train")
    return train_student(student, parts.corpus, rows, parts.vocabulary, how, parts.progress)


def _reads_own(parts: Parts, checkpoints: Path) -> OwnTextReader | None:
    """Return the server that reads what the student writes; None where none reads."""
    reader = text_reader(parts)
    if reader is None:
        return None
    return OwnTextReader(
        reader,
        parts.store,
        checkpoints / "read",
        paid=parts.run.readings_path.with_name(PAID),
        progress=parts.progress,
    )


def _dropped(parts: Parts) -> tuple[int, ...] | None:
    """Return the teacher's blocks that the student was made without; None where it was given."""
    shrunk = parts.run.done(ShrinkRecord)
    return None if shrunk is None else shrunk.blocks


def _timed(validate: Validate, pace: ClockedPace) -> Validate:
    """Return what measures a student, and tells a pace how long that took."""

    def timed(model: LoadedModel) -> dict[str, float]:
        start = time.perf_counter()
        found = validate(model)
        pace.measured(time.perf_counter() - start)
        return found

    return timed


def _validation(parts: Parts, student: LoadedModel) -> tuple[Validate | None, dict[str, int]]:
    """Return what measures the student on validation prompts, and which it leaves out, and why.

    Without any such answer nothing is measured, and the student of the last step is kept; says so.
    """
    rows = parts.corpus.exchanges("validation")
    texts, _ = fitting(parts.corpus.texts(rows, student, parts.vocabulary), student)
    read = {text.exchange.prompt_id for text in texts}
    unread = left_out(
        parts.corpus.stored("validation"),
        parts.store.marks(),
        parts.plan.validation,
        read,
        greedy=None,
        unasked=parts.unasked("validation"),
    )
    if not rows:
        parts.progress.note(
            "train: there is no answer to a validation prompt, so that whether training makes the "
            "student better is not watched, and the student of the last step is kept"
        )
        return None, unread
    # Of marked text the teacher's own distribution is no measure: it is without the mark.
    marked = any(row.watermark_key_id is not None for row in rows)
    by = text_validation if parts.access.weights is None or marked else validation
    measure = by(parts.corpus)
    vocabulary = parts.vocabulary
    return lambda model: measure(model, vocabulary), unread
