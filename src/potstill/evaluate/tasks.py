"""Score short answers: against gold where there is any, and against the teacher's.

Formulas: docs/methods/tasks.md. Text in, figures out: no model is asked here.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from potstill.errors import PotstillError
from potstill.recipe import TaskConfig
from potstill.stats import equivalence
from potstill.stats.bootstrap import RESAMPLES, Floats, mean_score_interval, quotient_interval
from potstill.text.answers import AnswerForm, AnswerValue
from potstill.text.same_json import same_value
from potstill.text.words import words_of
from potstill.work.figures import Estimate
from potstill.work.scores import SMALLEST_SLICE, Compared, ModelScores, SliceScores, TaskScores

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
    """Return the scores of held-out rows, one a prompt.

    Gold answers count only where every row has one. The comparison takes at least 2,000
    resamples whatever is asked. Rows of the slices in `task.apart` count for their own slice
    alone. Raises PotstillError for a broken schema and for slices apart that do not fit the rows,
    and ValueError for no rows, for gold or a teacher's answers in some rows only, or for neither.
    """
    golds, taught = ({getattr(row, name) is not None for row in rows} for name in _COMPARED_WITH)
    if not len(golds) == len(taught) == 1 or not (golds | taught) >= {True}:
        raise ValueError(
            "a task is scored on at least one row, and gold and the teacher's answers are each in "
            "all rows or none"
        )
    form = AnswerForm.of(task)
    settings = _TaskScoring(task, resamples, seed, "f1" if task.kind == "text" else "exact")
    counting = _counting(task, rows)
    both = _Both.of(form, counting)
    compared = settings.compare(both)
    slices = _slices(form, rows, settings)
    return TaskScores(
        kind=task.kind,
        n=len(counting),
        apart=len(rows) - len(counting),
        score=settings.score if both.scored else None,
        teacher=both.teacher and both.teacher.scores(settings.estimate),
        student=both.student.scores(settings.estimate),
        agreement=None if both.agree is None else settings.estimate(both.agree),
        comparison=compared,
        retention=settings.retention(both),
        slices=slices,
        worst_slice=next((s.name for s in slices if s.n >= SMALLEST_SLICE), None),
    )


def _counting(task: TaskConfig, rows: Sequence[TaskRow]) -> list[TaskRow]:
    """Return the rows that are not scored apart; raises PotstillError where there are none."""
    check_apart(task, [row.slice for row in rows])
    return [row for row in rows if row.slice not in task.apart]


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


@dataclass(frozen=True)
class _Answers:
    """One model's answers to all rows, read and scored."""

    form: AnswerForm
    answers: Sequence[AnswerValue | None]
    each: Sequence[AnswerScore]

    @classmethod
    def of(
        cls, form: AnswerForm, texts: Sequence[str], golds: Sequence[AnswerValue | None]
    ) -> _Answers:
        answers = [form.read(text) for text in texts]
        each = [
            score_answer(answer, gold)
            for answer, gold in zip(answers, golds, strict=True)
            if gold is not None
        ]
        return cls(form, answers, each)

    def column(self, score: Literal["exact", "f1"]) -> Floats:
        return np.array([getattr(one, score) for one in self.each], dtype=np.float64)

    def scores(self, estimate: Callable[[Sequence[float]], Estimate]) -> ModelScores:
        valid = fields = None
        if self.form.kind == "json":
            if self.form.schema is not None:
                valid = estimate([float(self.form.fits_schema(a)) for a in self.answers])
            fields = {name: estimate(column) for name, column in self._by_field().items()}
        return ModelScores(
            readable=estimate([float(answer is not None) for answer in self.answers]),
            valid=valid,
            exact=estimate([float(one.exact) for one in self.each]) if self.each else None,
            f1=estimate([one.f1 for one in self.each]) if self.each else None,
            fields=fields or None,
        )

    def _by_field(self) -> dict[str, list[float]]:
        columns: dict[str, list[float]] = defaultdict(list)
        for one in self.each:
            for name, right in one.fields.items():
                columns[name].append(float(right))
        return columns


@dataclass(frozen=True)
class _Both:
    """Both models' answers to the same rows; `agree` is 1 where they are the same.

    Without a teacher there is the student alone.
    """

    teacher: _Answers | None
    student: _Answers
    agree: Floats | None

    @classmethod
    def of(cls, form: AnswerForm, rows: Sequence[TaskRow]) -> _Both:
        golds = [row.gold for row in rows]
        student = _Answers.of(form, [row.student for row in rows], golds)
        taught = [row.teacher for row in rows if row.teacher is not None]
        if not taught:
            return cls(None, student, None)
        teacher = _Answers.of(form, taught, golds)
        pairs = zip(teacher.answers, student.answers, strict=True)
        return cls(teacher, student, np.array([same_answer(*p) for p in pairs], dtype=np.float64))

    @property
    def scored(self) -> bool:
        """Whether there are gold answers."""
        return bool(self.student.each)


@dataclass(frozen=True)
class _TaskScoring:
    """How figures are made from rows."""

    task: TaskConfig
    resamples: int
    seed: int
    score: Literal["exact", "f1"]

    def estimate(self, values: Sequence[float] | Floats) -> Estimate:
        return Estimate.of(mean_score_interval(values, resamples=self.resamples, seed=self.seed))

    def compare(self, both: _Both) -> Compared | None:
        if not both.scored or both.teacher is None:
            return None
        found = equivalence.compare(
            both.student.column(self.score),
            both.teacher.column(self.score),
            margin=self.task.margin,
            confidence=self.task.confidence,
            resamples=max(self.resamples, RESAMPLES),
            seed=self.seed,
        )
        return Compared.of(found)

    def retention(self, both: _Both) -> Estimate | None:
        if not both.scored or both.teacher is None:
            return None
        theirs, ours = both.teacher.column(self.score), both.student.column(self.score)
        if not theirs.sum():
            return None
        one = np.ones(len(theirs))
        return Estimate.of(
            quotient_interval(ours, one, theirs, one, resamples=self.resamples, seed=self.seed)
        )


def _slices(form: AnswerForm, rows: Sequence[TaskRow], settings: _TaskScoring) -> list[SliceScores]:
    """Return the slices, from the student's lowest score (without gold: agreement) up."""
    members: dict[str, list[TaskRow]] = defaultdict(list)
    for row in rows:
        if row.slice is not None:
            members[row.slice].append(row)
    found = [
        _slice(name, _Both.of(form, at), settings, apart=name in settings.task.apart)
        for name, at in members.items()
    ]

    def order(one: SliceScores) -> tuple[float, int, str]:
        shown = one.student or one.agreement
        assert shown is not None  # there are gold answers, or a teacher's
        return shown.value, -one.n, one.name

    return sorted(found, key=order)


def _slice(name: str, both: _Both, settings: _TaskScoring, *, apart: bool) -> SliceScores:
    def score(answers: _Answers | None) -> Estimate | None:
        if answers is None or not both.scored:
            return None
        return settings.estimate(answers.column(settings.score))

    return SliceScores(
        name=name,
        n=len(both.student.answers),
        teacher=score(both.teacher),
        student=score(both.student),
        agreement=None if both.agree is None else settings.estimate(both.agree),
        comparison=settings.compare(both) if apart else None,
    )


def _f1(shared: int, given: int, wanted: int) -> float:
    return 2 * shared / (given + wanted) if given + wanted else 1.0
