"""How teacher and student do the job: scores, the word for it, slices, and what calls cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from potstill.report import charts, words
from potstill.report.charts import Chart
from potstill.report.run.headline import compared, verdict
from potstill.report.tables import Table, TableRow, row, table
from potstill.work.evaluation import Evaluation
from potstill.work.payback_part import PaybackPart
from potstill.work.scores import SliceScores, TaskScores

HEADS = ("", "Right answers", "F1", "Readable", "Fits the schema")
SLICE_HEADS = ("Slice", "Rows", "Teacher", "Student", "Same answer")
SLICES = 30  # shown; the rest is in evaluation.json


@dataclass(frozen=True)
class TaskSection:
    """The section on the task; `more_slices` are those that it does not show."""

    verdict: str | None
    charts: list[Chart]
    table: Table | None
    notes: list[str]
    worst: str
    slices: Table | None
    more_slices: int


def task(evaluation: Evaluation) -> TaskSection | None:
    """Return the task's tables, chart and sentences; None where there is no task."""
    scores = evaluation.task
    if scores is None:
        return None
    notes = (
        _agreement(scores),
        *map(_apart, scores.slices),
        _payback(evaluation.payback, evaluation.cost.currency),
    )
    return TaskSection(
        verdict=verdict(evaluation),
        charts=_charts(scores),
        table=table(HEADS, _rows(scores)),
        notes=[note for note in notes if note is not None],
        worst=scores.worst_slice or "",
        slices=table(SLICE_HEADS, _slices(scores.slices[:SLICES])),
        more_slices=max(0, len(scores.slices) - SLICES),
    )


def _rows(scores: TaskScores) -> list[TableRow]:
    return [
        row(
            name,
            words.with_ends(one.exact),
            words.with_ends(one.f1),
            words.with_ends(one.readable),
            words.with_ends(one.valid),
            key=key,
        )
        for key, name, one in (
            ("teacher", "Teacher", scores.teacher),
            ("student", "Student", scores.student),
        )
        if one is not None
    ]


def _slices(slices: Sequence[SliceScores]) -> list[TableRow]:
    return [
        row(
            one.name + (", scored apart" if one.comparison else ""),
            words.whole(one.n),
            words.with_ends(one.teacher),
            words.with_ends(one.student),
            words.with_ends(one.agreement),
        )
        for one in slices
    ]


def _charts(scores: TaskScores) -> list[Chart]:
    if scores.score is None:
        return []
    figures = (
        ("Teacher", compared(scores, scores.teacher), "plain"),
        ("Student", compared(scores, scores.student), "student"),
    )
    rows = [
        charts.dot_row(name, figure, words.percent, kind)
        for name, figure, kind in figures
        if figure is not None
    ]
    if not rows:
        return []
    exact = scores.score == "exact"
    title = "Right answers" if exact else "F1 of words with the right answer"
    return [charts.shares(rows, title, "share of held-out rows; more is better")]


def _agreement(scores: TaskScores) -> str | None:
    if scores.agreement is None:
        return None
    share = words.with_ends(scores.agreement)
    return f"Both gave the same answer in {share} of the rows, right or wrong."


def _apart(one: SliceScores) -> str | None:
    """Return what is said of a slice that is scored apart; None of others."""
    found = one.comparison
    if found is None:
        return None
    low, high = (f"{100 * end:+.1f}" for end in found.interval)
    return (
        f"The {words.whole(one.n)} rows of {one.name} are unlike those "
        "that the student is for, and are scored apart: there the difference is "
        f"{100 * found.difference:+.1f} points ({low} to {high}), {found.sentence}."
    )


def _payback(found: PaybackPart | None, currency: str) -> str | None:
    if found is None:
        return None
    text = (
        f"1,000 calls cost {words.money(found.teacher_per_1000_calls, currency)} with the teacher "
        f"and {words.money(found.student_per_1000_calls, currency)} with the student, as they were "
        "answered here."
    )
    if found.calls is None:
        return f"{text} At these prices the student never pays for what making it cost."
    spent = words.money(found.spent, currency)
    return f"{text} Making the student cost {spent}: it pays from {found.calls:,} calls on."
