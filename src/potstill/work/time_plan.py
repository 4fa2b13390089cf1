"""What a clock decided about a run: the plan of its minutes, and what of them is spent.

Whatever hangs on timing stands in here, so that a run by the plan (`--plan`) makes the same
student.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from potstill.errors import PotstillError
from potstill.work.workdir import STATE, Recorded, WorkRecord

Chosen = int | float | bool | None


class Leg(Recorded):
    """From the step `at` on, counted from 0, a training was to have `total` steps."""

    at: int
    total: int


class StageTime(Recorded):
    """One row of the plan: a stage, how much it does, and its seconds.

    `at_start` was said before anything began, `predicted` when the stage did; `taken` is None until
    it is done.
    """

    stage: str
    amount: str
    at_start: float
    predicted: float
    taken: float | None = None


class TimePlan(WorkRecord):
    """The plan of a run's minutes; without `minutes` it only foretells what the recipe takes.

    `chosen` are the recipe's fields, written with dots, that the clock decides about, as they are
    now; `legs` the numbers of steps that the training was to have, one after another. `estimate`
    is what was said at the start, in seconds from the start of the process. `rates` are
    what was measured. `replayed`: the plan is another run's, and nothing is measured.

    Identity: nobody can measure again what decided the answers that are stored.
    """

    name: ClassVar[str] = "minutes"
    begun_with: ClassVar[bool] = True

    minutes: float | None
    chosen: dict[str, Chosen]
    legs: tuple[Leg, ...] = ()
    estimate: float
    stages: tuple[StageTime, ...]
    rates: dict[str, float] = Field(default_factory=dict)
    sizes: dict[str, float] = Field(default_factory=dict)
    replayed: bool = False

    def laid_over(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return a recipe's values with what the clock decided in their place."""
        found = dict(values)
        for field, value in self.chosen.items():
            found = _put(found, field.split("."), value)
        return found


class TimeSpent(WorkRecord):
    """The wall time that a run's calls have taken so far, up to the last moment that was noted."""

    name: ClassVar[str] = "spent"
    made_again: ClassVar[str] = "its minutes are counted from now on"

    seconds: float


def stored_time_plan(root: Path) -> TimePlan | None:
    """Return the plan that a run directory holds, None where it holds none, or a damaged one."""
    try:
        return TimePlan.from_json(time_plan_path(root).read_bytes())
    except (OSError, ValueError):
        return None


def time_plan_path(root: Path) -> Path:
    """Return where a run directory holds its plan."""
    return root / STATE / f"{TimePlan.name}.json"


def read_time_plan(path: Path) -> TimePlan:
    """Return the plan in a file, or in a run directory. Raises PotstillError where none is."""
    file = time_plan_path(path) if path.is_dir() else path
    try:
        return TimePlan.from_json(file.read_bytes())
    except (OSError, ValueError):
        raise PotstillError(
            f"{path} is no plan of minutes; give the file {STATE}/{TimePlan.name}.json of a run "
            "that was made with minutes, or that run's directory"
        ) from None


def _put(values: Mapping[str, Any], path: list[str], value: Chosen) -> dict[str, Any]:
    first, *rest = path
    if not rest:
        return {**values, first: value}
    inner = values.get(first)
    return {**values, first: _put(inner if isinstance(inner, Mapping) else {}, rest, value)}
