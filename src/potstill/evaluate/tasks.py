"""Score short answers: against gold where there is any, and against the teacher's.

Formulas: docs/methods/tasks.md. Text in, figures out: no model is asked here. What follows from
scored rows, `task_scores` says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from potstill.errors import PotstillError
from potstill.evaluate.task_scores import scores_of_items
from potstill.recipe import TaskConfig
from potstill.stats.bootstrap import RESAMPLES
from potstill.text.answers import AnswerForm, AnswerValue
from potstill.text.same_json import same_value
from potstill.text.words import words_of
from potstill.work.items import AnswerItems, TaskItems
from potstill.work.scores import TaskScores

# What a student's answers are held against.
_COMPARED_WITH = ("gold", "teacher")


@dataclass(frozen=True)
class TaskRow:
    """One held-out row, answered by both. `gold` is what `AnswerForm.gold` read, or None.

    `teacher` is None, in all rows, where the right answers are all that there is.
    """

    teacher: str | None
    student: str
    gold: AnswerValue | None = None
    slice: str | None = None


@dataclass(frozen=True)
class AnswerScore:
    """One answer against the right one; `fields` is empty but for JSON."""

    exact: bool
    f1: float
    fields: Mapping[str, bool]


def score_task(
    task: TaskConfig, rows: Sequence[TaskRow], *, resamples: int = RESAMPLES, seed: int = 0
) -> TaskScores:
    """Return the scores of held-out rows, one a prompt; see `task_items` and `scores_of_items`."""
    return scores_of_items(task_items(task, rows), resamples=resamples, seed=seed)


def task_items(task: TaskConfig, rows: Sequence[TaskRow]) -> TaskItems:
    """Return how held-out rows, one a prompt, were answered: without their text.

    Raises PotstillError for a broken schema and for slices apart that do not fit the rows, and
    ValueError for no rows, for gold or a teacher's answers in some rows only, or for neither.
    """
    golds, taught = ({getattr(row, name) is not None for row in rows} for name in _COMPARED_WITH)
    if not len(golds) == len(taught) == 1 or not (golds | taught) >= {True}:
        raise ValueError(
            "a task is scored on at least one row, and gold and the teacher's answers are each in "
            "all rows or none"
        )
    check_apart(task, [row.slice for row in rows])
    form = AnswerForm.of(task)
    wanted = [row.gold for row in rows]
    student = [form.read(row.student) for row in rows]
    teacher = [form.read(row.teacher) for row in rows if row.teacher is not None]
    agree = tuple(map(same_answer, teacher, student)) if teacher else None
    return TaskItems(
        kind=task.kind,
        margin=task.margin,
        confidence=task.confidence,
        apart=task.apart,
        slices=tuple(row.slice for row in rows),
        student=_answer_items(form, student, wanted),
        teacher=_answer_items(form, teacher, wanted) if teacher else None,
        agree=agree,
    )


def check_apart(task: TaskConfig, slices: Sequence[str | None]) -> None:
    """Raise PotstillError where the slices apart do not fit those of the held-out rows."""
    there = set(slices)
    for name in task.apart:
        if name not in there:
            raise PotstillError(
                f"task.apart names {name}, which no held-out row has in its column {task.slice}; "
                "correct it, or raise prompts.held_out_count"
            )
    if there <= set(task.apart):
        raise PotstillError("task.apart names every slice there is; leave one out of it")


def score_answer(answer: AnswerValue | None, gold: AnswerValue) -> AnswerScore:
    """Return how an answer compares with the right one; no answer is wrong throughout."""
    if isinstance(gold, dict):
        found = answer if isinstance(answer, dict) else {}
        fields = {
            name: name in found and same_value(found[name], value) for name, value in gold.items()
        }
        right = sum(fields.values())
        f1 = _f1(right, len(found), len(gold)) if isinstance(answer, dict) else 0.0
        exact = isinstance(answer, dict) and right == len(gold) == len(found)
        return AnswerScore(exact, f1, fields)
    if not isinstance(answer, str):
        return AnswerScore(False, 0.0, {})
    given, wanted = Counter(words_of(answer)), Counter(words_of(gold))
    f1 = _f1((given & wanted).total(), given.total(), wanted.total())
    return AnswerScore(answer == gold, f1, {})


def same_answer(one: AnswerValue | None, other: AnswerValue | None) -> bool:
    """Return whether two answers say the same; two that are missing do not."""
    return one is not None and other is not None and same_value(one, other)


def _answer_items(
    form: AnswerForm, answers: Sequence[AnswerValue | None], golds: Sequence[AnswerValue | None]
) -> AnswerItems:
    """Return how one model's answers to all rows are: read, and scored where there is gold."""
    each = [
        score_answer(answer, gold)
        for answer, gold in zip(answers, golds, strict=True)
        if gold is not None
    ]
    is_json = form.kind == "json"
    return AnswerItems(
        readable=tuple(answer is not None for answer in answers),
        valid=(
            tuple(bool(form.fits_schema(answer)) for answer in answers)
            if is_json and form.schema is not None
            else None
        ),
        exact=tuple(one.exact for one in each) if each else None,
        f1=tuple(one.f1 for one in each) if each else None,
        fields=tuple(dict(one.fields) for one in each) if each and is_json else None,
    )


def _f1(shared: int, given: int, wanted: int) -> float:
    return 2 * shared / (given + wanted) if given + wanted else 1.0
