"""What a run's report says of its minutes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from potstill.runs.minutes.more import Point, more_time
from potstill.work.rundir import RunDir
from potstill.work.stage_records import TrainRecord
from potstill.work.time_part import TimedStage, TimePart
from potstill.work.time_plan import TimePlan, TimeSpent


def time_part(run: RunDir) -> TimePart | None:
    """Return the section `time` of evaluation.json; None for a run without a plan of its own."""
    plan, spent = run.done(TimePlan), run.done(TimeSpent)
    if plan is None or plan.replayed or spent is None:
        return None
    trained, more = run.done(TrainRecord), None
    if trained is not None and trained.validated_by is not None and trained.steps:
        points = measured_points(run.metrics(), trained.validated_by, trained.steps)
        more = more_time(points, trained.seconds / trained.steps)
    return TimePart(
        minutes=plan.minutes,
        estimate=plan.estimate,
        used=spent.seconds,
        stages=[TimedStage(**row.model_dump()) for row in plan.stages],
        replanned=max(0, len(plan.legs) - 1),
        more=more,
    )


def measured_points(metrics: Sequence[Mapping[str, Any]], by: str, steps: int) -> list[Point]:
    """Return (step, measure) of the student's training; of a step done twice what came last."""
    found = {
        float(entry["step"]): float(entry[by])
        for entry in metrics
        if "student" not in entry and entry.get(by) is not None and entry["step"] <= steps
    }
    return sorted(found.items())
