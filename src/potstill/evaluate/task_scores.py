"""A task's scores and intervals from rows that are scored: arithmetic, no text and no model.

Formulas: docs/methods/tasks.md.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from potstill.stats import equivalence
from potstill.stats.bootstrap import RESAMPLES, Floats, mean_score_interval, quotient_interval
from potstill.work.figures import Estimate
from potstill.work.items import AnswerItems, TaskItems
from potstill.work.scores import SMALLEST_SLICE, Compared, ModelScores, SliceScores, TaskScores


def scores_of_items(items: TaskItems, *, resamples: int = RESAMPLES, seed: int = 0) -> TaskScores:
    """Return the scores of rows.

    The comparison takes at least 2,000 resamples whatever is asked. Rows of the slices that are
    scored apart count for their own slice alone.
    """
    scoring = _TaskScoring(items, resamples, seed)
    every = range(len(items.slices))
    counting = [row for row in every if items.slices[row] not in items.apart]
    slices = _slices(scoring)
    return TaskScores(
        kind=items.kind,
        n=len(counting),
        apart=len(items.slices) - len(counting),
        score=scoring.score if scoring.scored else None,
        teacher=None if items.teacher is None else scoring.model(items.teacher, counting),
        student=scoring.model(items.student, counting),
        agreement=scoring.agreement(counting),
        comparison=scoring.compare(counting),
        retention=scoring.retention(counting),
        slices=slices,
        worst_slice=next((s.name for s in slices if s.n >= SMALLEST_SLICE), None),
    )


@dataclass(frozen=True)
class _TaskScoring:
    """How figures are made from rows, which are named by their numbers."""

    items: TaskItems
    resamples: int
    seed: int

    @property
    def score(self) -> Literal["exact", "f1"]:
        return "f1" if self.items.kind == "text" else "exact"

    @property
    def scored(self) -> bool:
        """Whether there are gold answers."""
        return self.items.student.exact is not None

    def estimate(self, values: Sequence[float] | Floats) -> Estimate:
        return Estimate.of(mean_score_interval(values, resamples=self.resamples, seed=self.seed))

    def shares(self, column: Sequence[float] | None, rows: Sequence[int]) -> Estimate | None:
        return None if column is None else self.estimate([float(column[row]) for row in rows])

    def column(self, answers: AnswerItems, rows: Sequence[int]) -> Floats:
        found = answers.f1 if self.score == "f1" else answers.exact
        assert found is not None
        return np.array([found[row] for row in rows], dtype=np.float64)

    def model(self, answers: AnswerItems, rows: Sequence[int]) -> ModelScores:
        fields: dict[str, list[float]] = defaultdict(list)
        if answers.fields is not None:
            for row in rows:
                for name, right in answers.fields[row].items():
                    fields[name].append(float(right))
        return ModelScores(
            readable=self.estimate([float(answers.readable[row]) for row in rows]),
            valid=self.shares(answers.valid, rows),
            exact=self.shares(answers.exact, rows),
            f1=self.shares(answers.f1, rows),
            fields={name: self.estimate(column) for name, column in fields.items()} or None,
        )

    def agreement(self, rows: Sequence[int]) -> Estimate | None:
        return self.shares(self.items.agree, rows)

    def compare(self, rows: Sequence[int]) -> Compared | None:
        if not self.scored or self.items.teacher is None:
            return None
        found = equivalence.compare(
            self.column(self.items.student, rows),
            self.column(self.items.teacher, rows),
            margin=self.items.margin,
            confidence=self.items.confidence,
            resamples=max(self.resamples, RESAMPLES),
            seed=self.seed,
        )
        return Compared.of(found)

    def retention(self, rows: Sequence[int]) -> Estimate | None:
        if not self.scored or self.items.teacher is None:
            return None
        ours, theirs = (self.column(who, rows) for who in (self.items.student, self.items.teacher))
        if not theirs.sum():
            return None
        one = np.ones(len(theirs))
        return Estimate.of(
            quotient_interval(ours, one, theirs, one, resamples=self.resamples, seed=self.seed)
        )

    def mean(self, answers: AnswerItems | None, rows: Sequence[int]) -> Estimate | None:
        """Return a model's score, with gold answers."""
        if answers is None or not self.scored:
            return None
        return self.estimate(self.column(answers, rows))


def _slices(scoring: _TaskScoring) -> list[SliceScores]:
    """Return the slices, from the student's lowest score (without gold: agreement) up."""
    items = scoring.items
    members: dict[str, list[int]] = defaultdict(list)
    for row, name in enumerate(items.slices):
        if name is not None:
            members[name].append(row)
    found = [
        SliceScores(
            name=name,
            n=len(rows),
            teacher=scoring.mean(items.teacher, rows),
            student=scoring.mean(items.student, rows),
            agreement=scoring.agreement(rows),
            comparison=scoring.compare(rows) if name in items.apart else None,
        )
        for name, rows in members.items()
    ]

    def order(one: SliceScores) -> tuple[float, int, str]:
        shown = one.student or one.agreement
        assert shown is not None  # there are gold answers, or a teacher's
        return shown.value, -one.n, one.name

    return sorted(found, key=order)
