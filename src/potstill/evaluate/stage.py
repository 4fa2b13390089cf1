"""Evaluate: what the student kept, on held-out prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from potstill.evaluate.held_out import HeldOutRows, held_out, held_out_answers
from potstill.evaluate.measure import Measured, evaluate
from potstill.evaluate.task_answers import TaskMeasure, task_outcome
from potstill.evaluate.text_only import evaluate_on_text
from potstill.evaluate.tool_calls import measured_calls
from potstill.exchanges.exchange import Prompt
from potstill.models.loaded import LoadedModel
from potstill.models.size import parameter_count
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Progress, Silent
from potstill.recipe import EvaluateConfig, TaskConfig
from potstill.work.access import Weights
from potstill.work.corpus import Corpus
from potstill.work.items import Items
from potstill.work.stage_records import UNMEASURED, EvaluateRecord, Sections


@dataclass(frozen=True)
class Measuring:
    """What is measured, and how.

    `task` is what both models do, None without one; `machine_hour` the price of an hour of this
    machine, which a call's price is counted from; `seed` draws samples and resamples.
    `own_text` has students measured on what they write too, where the teacher's weights are there.
    """

    config: EvaluateConfig
    task: TaskConfig | None
    machine_hour: float
    seed: int
    own_text: bool = False


def evaluate_student(
    directories: Mapping[str, Path],
    corpus: Corpus,
    prompts: Sequence[Prompt],
    how: Measuring,
    *,
    pruned: LoadedModel | None = None,
    vocabulary: VocabularyMap | None = None,
    unasked: int = 0,
    progress: Progress = Silent(),
) -> EvaluateRecord:
    """Measure every student against the teacher, or on its text, and return the figures.

    `directories` says where students lie: `student`, and where they exist `untrained` and
    `cross_entropy`; `pruned` is the student before healing, measured beside them where the
    teacher's weights are at hand. `prompts` are the held-out prompts, in the order of the plan,
    and `unasked` more were never asked. `vocabulary` maps the student's tokens to its teacher's
    where they were trimmed. Raises PotstillError without a held-out answer.
    """
    opened = corpus.opened
    students = {name: opened.student(path) for name, path in directories.items()}
    student, rows = students["student"], HeldOutRows.of(corpus)
    if isinstance(opened.access.author, Weights):
        if pruned is not None:
            students["pruned"] = pruned
        measured = _against_teacher(
            students, directories, rows, corpus, how, vocabulary=vocabulary, progress=progress
        )
    else:
        measured = _on_text(
            students, directories, rows, corpus, how, vocabulary=vocabulary, progress=progress
        )
    sections = _sections(measured, rows, corpus, prompts, how, unasked=unasked)
    task = task_rows = None
    if how.task is not None:
        by = TaskMeasure(how.task, how.config, how.machine_hour, how.seed)
        task, task_rows = task_outcome(
            by, prompts, rows, student, corpus, unasked=unasked, progress=progress
        )
    calls = measured_calls(student, rows.kept, config=how.config, seed=how.seed, progress=progress)
    return EvaluateRecord(
        task=task,
        tool_calls=None if calls is None else calls[0],
        sections=sections,
        read={name: tuple(lengths) for name, lengths in measured.read.items()},
        student_params=parameter_count(student.network),
        items=Items(
            resamples=how.config.resamples,
            seed=how.seed,
            sampled=measured.sampled,
            greedy=measured.greedy,
            task=task_rows,
            calls=None if calls is None else calls[1],
        ),
        **UNMEASURED,
    )


def _against_teacher(
    students: Mapping[str, LoadedModel],
    directories: Mapping[str, Path],
    rows: HeldOutRows,
    corpus: Corpus,
    how: Measuring,
    *,
    vocabulary: VocabularyMap | None,
    progress: Progress,
) -> Measured:
    """Return the students against the teacher's distributions."""
    teacher, student = corpus.opened.teacher, students["student"]
    drawn = rows.drawn(greedy=False)
    likeliest = rows.drawn(greedy=True) if how.config.greedy else []
    return evaluate(
        teacher,
        students,
        held_out(corpus, drawn, student, vocabulary, progress=progress),
        held_out(corpus, likeliest, student, vocabulary, progress=progress),
        vocabulary=vocabulary,
        config=how.config,
        directories={**directories, "teacher": teacher.directory or Path()},
        seed=how.seed,
        progress=progress,
        own_text=how.own_text,
    )


def _on_text(
    students: Mapping[str, LoadedModel],
    directories: Mapping[str, Path],
    rows: HeldOutRows,
    corpus: Corpus,
    how: Measuring,
    *,
    vocabulary: VocabularyMap | None,
    progress: Progress,
) -> Measured:
    """Return the students on the text of a teacher whose weights are not at hand."""
    return evaluate_on_text(
        students,
        {
            name: held_out_answers(corpus, rows, student, vocabulary, progress=progress)
            for name, student in students.items()
        },
        config=how.config,
        directories=directories,
        seed=how.seed,
        progress=progress,
    )


def _sections(
    measured: Measured,
    rows: HeldOutRows,
    corpus: Corpus,
    prompts: Sequence[Prompt],
    how: Measuring,
    *,
    unasked: int,
) -> Sections:
    """Return what was measured, with how many held-out prompts the figures lack, by reason."""
    asks = corpus.opened.access.author.can_answer
    unread = rows.left_out(
        prompts[: how.config.fidelity_prompts] if asks else prompts,
        measured.prompt_ids,
        greedy=False if asks else None,
        unasked=unasked,
    )
    return Sections(
        held_out=measured.held_out.model_copy(update={"left_out": unread}),
        models=measured.models,
        differences=measured.differences,
        vocabulary=measured.vocabulary,
        samples=tuple(measured.samples),
    )
