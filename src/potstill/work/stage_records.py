"""What each stage of a run records in `state`: one class a stage, with the very keys of its JSON.

A field with a default is one that not every version or not every run writes. Numbers that are not
finite are null in JSON, and None here.
"""

from __future__ import annotations

import json
from typing import ClassVar, Self, TypedDict

from pydantic import Field, model_validator

from potstill.work.evaluation import (
    Differences,
    HeldOutText,
    Models,
    Overlap,
    SamplePair,
    ValidatedBy,
    Vocabulary,
)
from potstill.work.evaluation_file import without_empty_intervals
from potstill.work.items import Items
from potstill.work.marked import MarkedAnswers
from potstill.work.rounded import RoundedAnswers
from potstill.work.scores import CallScores, TaskScores
from potstill.work.workdir import Recorded, WorkRecord

ReadLengths = tuple[tuple[int, int], ...]
"""(prompt tokens, response tokens) of sequences."""


class Unmeasured(TypedDict):
    """What a stage took, before anybody has measured it."""

    seconds: float
    joules: float | None


UNMEASURED: Unmeasured = {"seconds": 0.0, "joules": None}


class StageRecord(WorkRecord):
    """What a stage did, and what it took; `joules` is None where the machine does not say.

    Who does a stage does not know what it takes: it says `UNMEASURED`, and that is measured
    around it.
    """

    seconds: float
    joules: float | None

    def taking(self, seconds: float, joules: float | None) -> Self:
        """Return the record with what the stage took."""
        return self.model_copy(update={"seconds": seconds, "joules": joules})


class AnswerFigures(Recorded):
    """How many answers are stored, and what came in the last call.

    `exchanges` are stored, `computed` came now, with `response_tokens`.
    """

    exchanges: int
    computed: int
    response_tokens: int
    seconds: float
    tokens_per_s: float | None


class DecodedAnswers(AnswerFigures):
    """Those of a teacher whose weights are here; shares are of decoding steps times slots."""

    slots_busy: float | None
    slots_busy_before_last_wave: float | None
    waves: int
    watermark: MarkedAnswers | None = None
    int8: RoundedAnswers | None = None


class ServedAnswers(AnswerFigures):
    """Those of a server. `failures` are (prompt id, reason), which may be asked again."""

    money: float | None
    failed: dict[str, int]
    failures: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


class GivenAnswers(AnswerFigures):
    """Those that nobody was asked for: past calls, right answers."""

    notes: tuple[str, ...] = ()


class StoredRows(Recorded):
    """How many rows collecting left in the store."""

    exchanges: int
    targets: int


class CollectRecord(StageRecord):
    """What collecting did."""

    name: ClassVar[str] = "collect"
    made_again: ClassVar[str] = "collect is done again"

    figures: DecodedAnswers | ServedAnswers | GivenAnswers
    overlap: Overlap
    stored: StoredRows

    @property
    def failures(self) -> tuple[tuple[str, str], ...]:
        """Prompts that a server gave no answer to, with the reason."""
        return self.figures.failures if isinstance(self.figures, ServedAnswers) else ()

    @property
    def notes(self) -> tuple[str, ...]:
        """What was odd about the answers."""
        if not isinstance(self.figures, DecodedAnswers):
            return self.figures.notes
        marked = self.figures.watermark
        return () if marked is None else tuple(marked.doubts)


class ReadAnswers(Recorded):
    """What a server read of answers that were there: `collect.served.reading.ScoringFigures`."""

    texts: int
    scored: int
    without_targets: dict[str, int]
    prompt_tokens: int
    response_tokens: int
    money: float | None
    seconds: float
    note: str


class CurateRecord(StageRecord):
    """Which answers curation kept (`curate.curation.Curation`), and what a server read of them."""

    name: ClassVar[str] = "curate"
    made_again: ClassVar[str] = "curate is done again"

    rows: int
    kept: int
    train: int
    train_kept: int
    dropped: dict[str, int]
    alone: dict[str, int]
    elsewhere: dict[str, dict[str, int]] = Field(default_factory=dict)
    examples: dict[str, tuple[str, ...]]
    verified: dict[str, float | None] | None
    judge: str | None
    notes: tuple[str, ...]
    reading: ReadAnswers | None = None


class CutMeasure(Recorded):
    """A cut student on validation prompts: KL a token, and how often it agrees."""

    kl: float | None
    agreement: float | None


class TriedCut(Recorded):
    """A cut that was tried: what went or stayed, and its KL on the trials' text."""

    blocks: tuple[int, ...]
    kl: float | None
    taken: bool
    ffn_channels: int | None = None
    kv_heads: int | None = None
    vocabulary: int | None = None
    parameters: int | None = None


_OF_A_CUT = {
    "kept_tokens",
    "channels",
    "kv_heads",
    "heal",
    "refitted",
    "calibration_tokens",
    "plain",
    "healed",
    "trials",
}


class ShrinkRecord(StageRecord):
    """How the student was made (`shrink.cut.Cut`); `blocks` alone, as None, where none was cut."""

    name: ClassVar[str] = "shrink"
    made_again: ClassVar[str] = "shrink is done again"

    blocks: tuple[int, ...] | None
    kept_tokens: tuple[int, ...] | None = None
    channels: tuple[tuple[int, ...], ...] | None = None
    kv_heads: tuple[tuple[int, ...], ...] | None = None
    heal: str | None = None
    refitted: tuple[int, ...] = ()
    calibration_tokens: int = 0
    plain: CutMeasure | None = None
    healed: CutMeasure | None = None
    trials: tuple[TriedCut, ...] = ()
    ids_dropped: dict[str, int] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        lacking = _OF_A_CUT - self.model_fields_set
        if self.blocks is not None and lacking:
            raise ValueError(f"the record of a cut lacks {' and '.join(sorted(lacking))}")
        return self


class OwnTextRead(Recorded):
    """What a server was given to read of a student's own text, in all calls of a run.

    It tells its `likeliest` tokens a position, so many, and the rest is one bucket. `untold_first`
    and `untold_last` are the mass that the student gives to that bucket, at the first and the last
    answers. `money` is None without prices.
    """

    likeliest: int
    texts: int
    prompt_tokens: int
    response_tokens: int
    money: float | None
    untold_first: float | None = None
    untold_last: float | None = None


class OwnTextLearnt(Recorded):
    """What a student learnt from answers of its own.

    `steps` learnt from them and `stored_steps` from stored ones. `cut` and `repeated` are
    counts of answers, `overlap_first` and `overlap_last` shares of likeliest tokens that it has in
    common with its teacher, at the first and the last answers. `lengths` are the answers'.
    `served` is what a server took that read them, None where the teacher was in memory.
    """

    steps: int
    stored_steps: int
    cut: int
    repeated: int
    overlap_first: float
    overlap_last: float
    slots_busy: float
    writing_s: float
    scoring_s: float
    lengths: ReadLengths
    served: OwnTextRead | None = None


class StatesMatched(Recorded):
    """Which hidden states of a student were matched to its teacher's.

    `pairs` are (block of the student, block of the teacher), `last` tells of the states behind the
    last norm. `projection_weights` learnt beside the student, 0 without projections.
    """

    pairs: tuple[tuple[int, int], ...]
    last: bool
    projection_weights: int


class TrainedStudent(Recorded):
    """What one training did: `train.result.TrainResult`, and what it read.

    `lengths` are the examples', `scored_again` those that the teacher read once more. The
    `hidden` figures are the distance of matched states at the first and the last step.
    """

    steps: int
    tokens: int
    response_tokens: int
    seconds: float
    tokens_per_s: float | None
    first_loss: float | None
    last_loss: float | None
    kept_step: int | None = None
    validated_by: ValidatedBy | None = None
    validation_before: float | None = None
    validation_kept: float | None = None
    validation_last: float | None = None
    lengths: ReadLengths
    scored_again: int
    left_out: int
    validation_left_out: dict[str, int] = Field(default_factory=dict)
    on_policy: OwnTextLearnt | None = None
    first_hidden: float | None = None
    last_hidden: float | None = None
    hidden_matching: StatesMatched | None = None


class TrainRecord(TrainedStudent, StageRecord):
    """The student's training, and that of the baseline on text alone where there is one."""

    name: ClassVar[str] = "train"
    made_again: ClassVar[str] = "train is done again"

    seconds: float
    cross_entropy: TrainedStudent | None = None


class PricedByTime(Recorded):
    """What a call costs on a machine of one's own: `evaluate.payback.MachinePrice`."""

    seconds_per_call: float
    machine_hour: float


class PricedByTokens(Recorded):
    """What a call costs at a server's prices: `evaluate.payback.TokenPrice`."""

    prompt_tokens: float
    response_tokens: float
    prompt_million: float
    response_million: float


class TaskOutcome(Recorded):
    """How both models do the recipe's task, and what a call of each costs."""

    scores: TaskScores
    prices: dict[str, PricedByTime | PricedByTokens]
    # Older versions counted the rows without an answer here.
    unanswered: int | None = None


class Sections(Recorded):
    """The sections of evaluation.json that evaluation measures."""

    held_out: HeldOutText
    models: Models
    differences: Differences
    vocabulary: Vocabulary | None
    samples: tuple[SamplePair, ...]


class EvaluateRecord(StageRecord):
    """What evaluation measured. `read` holds what each model read, for the cost of it."""

    name: ClassVar[str] = "evaluate"
    made_again: ClassVar[str] = "evaluate is done again"

    task: TaskOutcome | None
    tool_calls: CallScores | None = None
    sections: Sections
    read: dict[str, ReadLengths]
    student_params: int
    # What the figures are made of; older versions kept none.
    items: Items | None = None

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """Return the record that a run wrote; raises ValueError where it is damaged."""
        values = without_empty_intervals(json.loads(text))
        return super().from_json(json.dumps(values).encode())


# In the order in which a run makes them.
STAGE_RECORDS: tuple[type[StageRecord], ...] = (
    CollectRecord,
    CurateRecord,
    ShrinkRecord,
    TrainRecord,
    EvaluateRecord,
)
