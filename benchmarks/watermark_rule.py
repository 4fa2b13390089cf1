"""Which defaults of `collect.watermark` follow from the power benchmark's rows, by a stated rule.

Settings are judged on whole distributions at temperature 1, by the nano teacher of 2 nats and by
SmolLM2, and by a student that learns the marked text as a recipe has it learnt: a green list from
draws of the marked distribution, Gumbel's from the text.

1. A mark may cost `MOST` nats a token, twice: that much more is the mean negative log-likelihood
   of marked text by each teacher (a mark that keeps the distribution over keys costs nothing),
   and that much further from its teacher's own distribution than a student of unmarked text ends
   the student.
2. Marked text shows its mark with p 1e-6 within `ENOUGH` tokens, of each teacher: a run's answers
   are many times that.
3. Of the settings that are left, the one whose mark the student shows most, as it reads what it
   learnt or in what it writes: that a student shows it is what a run marks for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Row = dict[str, Any]
JUDGES = ("nats-2", "smollm2")
MOST, ENOUGH = 0.1, 1000


@dataclass(frozen=True)
class Judged:
    """A setting with what it is judged by, the worse one of both teachers'.

    `tokens` are those that p 1e-6 takes, infinite where it was not reached; `cost` and `student`,
    how much further a student ends, are in nats a token; `shown` is the least log10 p of it, in
    reading or in its own text.
    """

    scheme: str
    window: int
    gamma: float | None
    delta: float | None
    tokens: float
    cost: float
    student: float
    shown: float


def judged(rows: Sequence[Row]) -> list[Judged]:
    """Return every setting that each judge and a student has a row of."""
    found = []
    for student in (row for row in rows if "student" in row and row["scheme"] is not None):
        own = [row for row in rows if _of_a_judge(row) and _setting(row) == _setting(student)]
        learnt = "text" if student["scheme"] == "gumbel" else "draws"
        if student["learnt"] != learnt or {row["teacher"] for row in own} != set(JUDGES):
            continue
        found.append(
            Judged(
                *_setting(student),
                tokens=max(row["tokens_for_1e-6"] or math.inf for row in own),
                cost=max(math.log1p(row["perplexity_expected_more"] or 0.0) for row in own),
                student=student["kl"] - unmarked_student(rows, learnt)["kl"],
                shown=min(look["log10_p"][-1] for look in _looks(student)),
            )
        )
    return found


def unmarked_student(rows: Sequence[Row], learnt: str) -> Row:
    """Return the row of the student of unmarked text that learnt in the same way."""
    of_students = (row for row in rows if "student" in row and row["learnt"] == learnt)
    return next(row for row in of_students if row["scheme"] is None)


def _looks(student: Row) -> list[Row]:
    return [student["reading"], *student["text"].values()]


def _of_a_judge(row: Row) -> bool:
    return row.get("teacher") in JUDGES and row["top_p"] == 1 and row["scheme"] is not None


def _setting(row: Row) -> tuple[str, int, float | None, float | None]:
    return row["scheme"], int(row["window"]), row.get("gamma"), row.get("delta")


def chosen(settings: Sequence[Judged]) -> Judged:
    """Return the setting that the rule chooses. Raises ValueError where none is left."""
    cheap = [s for s in settings if s.cost <= MOST and s.student <= MOST and s.tokens <= ENOUGH]
    if not cheap:
        raise ValueError("no setting is within the limits")
    return min(cheap, key=lambda s: s.shown)


def claims_of(rows: Sequence[Row]) -> dict[str, Row]:
    """Return the figures that pages read: the chosen setting, and what it and Gumbel come to."""
    best = chosen(judged(rows))
    if best.gamma is None or best.delta is None:
        raise ValueError("the rule chose Gumbel, which pages do not expect")
    claims = {
        "window": (best.window, "tokens"),
        "gamma": (best.gamma, ""),
        "delta": (best.delta, "nats"),
        "student_nats_further": (best.student, "nats a token"),
        "student_log10_p": (best.shown, ""),
    }
    settings = {
        "green": (best.scheme, best.window, best.gamma, best.delta),
        "gumbel": ("gumbel", best.window, None, None),
    }
    of_judges = [row for row in rows if _of_a_judge(row)]
    for row in of_judges:
        for scheme, setting in settings.items():
            if _setting(row) == setting:
                claims[f"{scheme}_tokens_{row['teacher']}"] = (row["tokens_for_1e-6"], "tokens")
        if _setting(row) == settings["green"]:
            more = row["perplexity_expected_more"]
            claims[f"perplexity_more_{row['teacher']}"] = (more, "share")
    return {
        name: {"value": value, "unit": unit, "runs": 1} for name, (value, unit) in claims.items()
    }
