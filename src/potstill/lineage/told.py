"""What a lineage tells a reader, in order: where from, by whose leave, measured and paid what.

Cards, bills of materials and notices are made of it, so that all say the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from potstill.evaluate.again import MadeFigures
from potstill.lineage.document import LineageFacts, stated_part
from potstill.work.evaluation import Cost
from potstill.work.figures import Estimate


@dataclass(frozen=True)
class ToldFigure:
    """A figure of the student: its key, its name in words, and the estimate with its interval."""

    key: str
    name: str
    estimate: Estimate

    @property
    def words(self) -> str:
        """The figure with its interval, and on how many prompts it was measured."""
        of = f"{self.estimate.value:.4g}"
        ends, prompts = self.estimate.ci95, self.estimate.n
        interval = "no interval" if ends is None else f"95% interval {ends[0]:.4g} to {ends[1]:.4g}"
        return f"{of} ({interval}, {prompts} prompts)"


_OF_STUDENT = (
    ("kl_per_token", "KL of the teacher to the student, nats a token"),
    ("top1_agreement", "share of positions with the same likeliest token"),
    ("perplexity", "perplexity on the teacher's text"),
    ("bits_per_byte", "bits a byte of the teacher's text"),
)


def told_figures(facts: LineageFacts) -> list[ToldFigure]:
    """Return what was measured of the student: fidelity, and how it does the task."""
    if facts.figures is None:
        return []
    found = stated_part(MadeFigures, facts.figures, "figures")
    return [*_fidelity(found), *_of_task(found)]


def _fidelity(found: MadeFigures) -> Iterator[ToldFigure]:
    student = found.models.get("student", {})
    yield from (ToldFigure(key, name, student[key]) for key, name in _OF_STUDENT if key in student)
    over = found.differences.get("student_over_untrained_kl")
    if over is not None:
        yield ToldFigure("student_over_untrained_kl", "KL as a share of that before training", over)


def _of_task(found: MadeFigures) -> Iterator[ToldFigure]:
    if found.task is not None:
        task, student = found.task, found.task.student
        of = student.f1 if task.score == "f1" else student.exact
        if of is not None:
            yield ToldFigure("task_score", f"task score ({task.score})", of)
        if task.agreement is not None:
            yield ToldFigure("task_agreement", "share of the teacher's answers", task.agreement)
        if task.retention is not None:
            yield ToldFigure("task_retention", "score as a share of the teacher's", task.retention)
    if found.tool_calls is not None:
        yield ToldFigure("tool_calls", "calls that are the teacher's", found.tool_calls.right)


@dataclass(frozen=True)
class ToldCost:
    """What a run took of something: its name with the unit, and how much."""

    key: str
    name: str
    value: str


def told_costs(facts: LineageFacts) -> list[ToldCost]:
    """Return what all stages of a run took; what is not known is `unknown`."""
    if facts.cost is None:
        return []
    cost = stated_part(Cost, facts.cost, "cost")
    total = cost.total
    return [
        ToldCost("flops", "floating-point operations", f"{total.flops:.4g}"),
        ToldCost("tokens", "tokens", _known(total.tokens)),
        ToldCost("seconds", "seconds", f"{total.seconds:.4g}"),
        ToldCost("joules", "joules", _known(total.joules)),
        ToldCost("money", f"money, {cost.currency}", _known(total.money)),
    ]


def told_digests(facts: LineageFacts) -> list[tuple[str, str]]:
    """Return names and digests of what a student was made from, as far as they are known."""
    found: list[tuple[str, str | None]] = []
    for role, model in (
        ("teacher", facts.teacher),
        ("base", facts.base),
        ("student", facts.student),
    ):
        if model is not None and not (role == "base" and model == facts.teacher):
            found += [
                (f"{role}: weights, config and tokenizer", model.identity),
                (f"{role}: tokenizer", model.tokenizer),
                (f"{role}: its own manifest", model.manifest),
            ]
    if facts.data is not None:
        found += [("prompts", facts.data.prompts), ("answers", facts.data.exchanges)]
        for name, split in facts.data.splits.items():
            found += [
                (f"{name}: prompts", split.prompts),
                (f"{name}: {split.rows} answers", split.exchanges),
            ]
    if facts.watermark is not None:
        found.append(("watermark key", str(facts.watermark.get("key_id"))))
    if facts.training_order is not None:
        found.append(("secret of the training's order", str(facts.training_order.get("secret"))))
    return [(name, digest) for name, digest in found if digest is not None]


@dataclass(frozen=True)
class ToldTerms:
    """By whose leave: licences as they are named, what was decided, and what has to be kept."""

    outcome: str
    licences: tuple[str, ...]
    reason: str
    conditions: tuple[str, ...]
    authorisation: str | None


def told_terms(decision: dict[str, Any] | None) -> ToldTerms | None:
    """Return a decision of the gate as it stands in a manifest; None where there is none."""
    if decision is None:
        return None
    authorisation = decision.get("authorisation")
    return ToldTerms(
        outcome=str(decision.get("outcome", "unknown")),
        licences=tuple(map(str, decision.get("licences") or ())),
        reason=str(decision.get("reason", "")),
        conditions=tuple(map(str, decision.get("conditions") or ())),
        authorisation=None if authorisation is None else str(authorisation),
    )


def told_decisions(facts: LineageFacts) -> list[tuple[str, ToldTerms]]:
    """Return the gate's decisions, each with what it is about: answers, their reader, the base."""
    read = None if facts.reader is None else facts.reader.get("terms")
    every = (("answers", facts.terms), ("reader", read), ("base", facts.base_terms))
    found = ((what, told_terms(one) if isinstance(one, dict) else None) for what, one in every)
    return [(what, one) for what, one in found if one is not None]


def _known(value: float | int | None) -> str:
    return (
        "unknown" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    )
