"""What a run records in `state`: one class a file, with the very keys of its JSON.

What the stages record is in `stage_records`. A field with a default is one that not every version
or not every run writes.
"""

from __future__ import annotations

import datetime
from typing import ClassVar, Literal

from pydantic import Field

from potstill.exchanges.exchange import Prompt
from potstill.work.evaluation import Overlap
from potstill.work.stage_records import STAGE_RECORDS
from potstill.work.time_plan import TimePlan, TimeSpent
from potstill.work.workdir import WorkRecord

Digests = dict[str, dict[str, str]]
"""Digests of files, by the field that names them and by path."""


class Spoken(WorkRecord):
    """How the run speaks: the renderer's version, and the day that chat templates write.

    Identity: what is stored was asked so, and what is trained has to be rendered alike.
    """

    name: ClassVar[str] = "conversation"
    begun_with: ClassVar[bool] = True

    version: int
    date: datetime.date


class Precision(WorkRecord):
    """What matrix products are computed in.

    Identity: the first call chose it, and figures of two are not compared.
    """

    name: ClassVar[str] = "precision"
    begun_with: ClassVar[bool] = True

    precision: Literal["fp32", "bf16"]


class Teacher(WorkRecord):
    """Whose answers the run holds.

    Identity: it is how another teacher, or other weights under the same name, are known.
    """

    name: ClassVar[str] = "teacher"
    begun_with: ClassVar[bool] = True

    identity: str


class Watermark(WorkRecord):
    """How training answers are marked. `key_id` is the digest of the epoch's key, `mark_id` that
    of key, scheme and parameters, which the answers are stored under.

    Identity: answers of two keys would be one log with two marks.
    """

    name: ClassVar[str] = "watermark"
    begun_with: ClassVar[bool] = True

    key_id: str
    mark_id: str
    epoch: str
    scheme: str
    parameters: dict[str, float]


class TrainingOrder(WorkRecord):
    """What the order of training is drawn from: `secret` is the digest of the run's secret.

    Identity: a training that goes on has to go on in its order.
    """

    name: ClassVar[str] = "order"
    begun_with: ClassVar[bool] = True

    secret: str


class Files(WorkRecord):
    """The files that the recipe names, as the run read them first.

    Identity: it is how a file that changes meanwhile is known.
    """

    name: ClassVar[str] = "files"
    begun_with: ClassVar[bool] = True

    digests: Digests


class PlannedOverlap(Overlap):
    """What training and held-out prompts of a plan share, with the positions in training."""

    train_indices: tuple[int, ...]


class Prompts(WorkRecord):
    """The plan of the prompts. `columns` are those that right answers and slices are from.

    Identity: its sources may have changed since, and a teacher writes no prompt twice.
    """

    name: ClassVar[str] = "prompts"
    begun_with: ClassVar[bool] = True

    prompts: tuple[Prompt, ...]
    overlap: PlannedOverlap
    notes: tuple[str, ...]
    columns: tuple[str | None, ...] | None = None


class Unasked(WorkRecord):
    """How many prompts the plan left out of each split, since they leave no room for an answer.

    Identity, as the plan is: it is written with it.
    """

    name: ClassVar[str] = "unasked"
    begun_with: ClassVar[bool] = True

    train: int = 0
    validation: int = 0
    held_out: int = 0


class Checked(WorkRecord):
    """What was found before the first question: of which recipe, with which files and models.

    `models` holds the identities of models that a later stage loads again, by their fields.

    Identity: made again it would hold those of the models that are there now, so that a student or
    a judge that was changed meanwhile would not be known.
    """

    name: ClassVar[str] = "checked"
    begun_with: ClassVar[bool] = True

    recipe: str
    files: Digests | None = None
    models: dict[str, str] = Field(default_factory=dict)


class AskingCost(WorkRecord):
    """What asking took so far, in every call that asked."""

    name: ClassVar[str] = "asked"
    made_again: ClassVar[str] = "what asking takes is counted from now on"

    seconds: float | None
    joules: float | None


# In the order in which a run makes them.
RECORDS: tuple[type[WorkRecord], ...] = (
    Spoken,
    Precision,
    Files,
    Unasked,
    Prompts,
    Checked,
    Teacher,
    Watermark,
    TrainingOrder,
    TimePlan,
    TimeSpent,
    AskingCost,
    *STAGE_RECORDS,
)
