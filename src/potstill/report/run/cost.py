"""What a run cost, by stage, against training from scratch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from markupsafe import Markup

from potstill.report import charts, words
from potstill.report.run.headline import scratch_ratio
from potstill.report.run.names import by_gold
from potstill.report.tables import Table, row, table
from potstill.work.evaluation import Cost, Evaluation, Stage

HEADS = ("Stage", "Operations", "Tokens", "Time", "Energy", "Money")
PARENT = "Training of the model that it began as, estimated"
SCRATCH = "From scratch, estimated"


@dataclass(frozen=True)
class CostSection:
    """The section on cost; `here` is how long pretraining would take at this run's speed."""

    table: Table | None
    chart: Markup | None
    parent: str | None
    formula: str
    ratio: str
    here: str | None
    energy: bool
    energy_of: str


def cost(evaluation: Evaluation) -> CostSection:
    """Return the cost table, its chart and the from-scratch estimate in words."""
    found, stages = evaluation.cost, _stages(evaluation)
    rows = [
        row(
            name,
            words.scientific(one.flops),
            words.count(one.tokens),
            words.duration(one.seconds),
            words.energy(one.joules),
            words.money(one.money, found.currency),
            key=key,
        )
        for key, name, one in stages
    ]
    scratch, parent, nothing = found.from_scratch, found.parent, words.NOTHING
    rows.append(
        row(
            SCRATCH,
            words.scientific(scratch.flops),
            words.count(scratch.tokens),
            nothing,
            nothing,
            words.money(scratch.money, found.currency),
            key="scratch",
        )
    )
    if parent is not None:
        rows.append(row(PARENT, words.scientific(parent.flops), *[nothing] * 4, key="scratch"))
    return CostSection(
        table=table(HEADS, rows),
        chart=_chart(found, stages),
        parent=None if parent is None else parent.model,
        formula=scratch.formula,
        ratio=words.share_of(scratch_ratio(evaluation)),
        here=_scratch_here(found),
        energy=found.total.joules is not None,
        energy_of=energy_of(evaluation),
    )


def gpu_counted(evaluation: Evaluation) -> bool:
    """Tell whether the energy is also that of a GPU: of one that was read by Zeus."""
    machine = evaluation.machine
    return machine.accelerator is not None and "zeus" in machine.packages


def energy_of(evaluation: Evaluation) -> str:
    """Return in words what the energy is that of."""
    return "the CPU packages" + (" and the GPU" if gpu_counted(evaluation) else "")


def _stages(evaluation: Evaluation) -> list[tuple[str, str, Stage]]:
    """Return (key, name, what it cost) of every stage that ran, and their total."""
    found = evaluation.cost
    answers = "the right answers" if by_gold(evaluation) else "the teacher answers"
    every = (
        ("collection", f"Collection: {answers}", found.collection),
        ("shrink", "Shrink: cut and heal", found.shrink),
        ("training", "Training", found.training),
        ("evaluation", "Evaluation", found.evaluation),
        ("total", "This run, all of it", found.total),
    )
    return [(key, name, one) for key, name, one in every if one is not None]


def _scratch_here(found: Cost) -> str | None:
    """Return how long pretraining would take at the speed that this run trained at."""
    trained = found.training
    if trained is None or not trained.flops or not trained.seconds:
        return None
    return words.duration(found.from_scratch.flops / (trained.flops / trained.seconds))


def _chart(found: Cost, stages: list[tuple[str, str, Stage]]) -> Markup | None:
    every = [(key, name, stage.flops) for key, name, stage in stages]
    if found.parent is not None:
        every.append(("parent", PARENT, found.parent.flops))
    every.append(("from_scratch", SCRATCH, found.from_scratch.flops))
    rows = [
        charts.DotRow(
            name, flops, words.scientific(flops), kind="student" if key == "total" else "plain"
        )
        for key, name, flops in every
        if flops > 0
    ]
    if len(rows) < 2:
        return None
    return charts.dots(
        rows,
        title=charts.said("Arithmetic, logarithmic", rows),
        ticks=charts.log_ticks(*charts.span_of(rows), 5),
        spell=lambda value: words.power_of_ten(round(math.log10(value))),
        log=True,
    )
