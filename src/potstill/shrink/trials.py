"""Make a cut, heal it on a little text, measure it: what every search asks for."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from potstill.models.alignment import Alignment
from potstill.models.loaded import LoadedModel
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Progress
from potstill.recipe import ShrinkConfig
from potstill.shrink.blocks import drop_blocks
from potstill.shrink.cut import Cut
from potstill.shrink.heal import heal
from potstill.shrink.making import pruned
from potstill.shrink.streams import Batch, TeacherStream, calibration_batches
from potstill.shrink.width import narrow
from potstill.work.measure import Measure

T = TypeVar("T")

# Vocabularies whose teacher states are held at a time: the present one and the one proposed.
_HELD = 2


@dataclass(frozen=True)
class _Start:
    """A student that lost tokens alone, what it reads, and the teacher's states there."""

    student: LoadedModel
    vocabulary: VocabularyMap | None
    batches: list[Batch]
    stream: TeacherStream
    tokens_ratio: float


class Trials:
    """Tries cuts. Nothing is tried twice."""

    def __init__(
        self,
        teacher: LoadedModel,
        config: ShrinkConfig,
        calibration: Sequence[Sequence[int]],
        measure: Measure,
    ) -> None:
        self._teacher, self._config, self._measure = teacher, config, measure
        self._rows = first_tokens(calibration, config.trial_tokens)
        self._starts: dict[tuple[int, ...] | None, _Start] = {}
        self._losses: dict[Cut, float] = {}

    def loss(self, cut: Cut) -> float:
        """Return what a student has lost after healing: KL in nats for a token of the teacher's.

        A student with fewer tokens reads more of them in the same text, each with less to
        lose, so that its KL per token is multiplied by how many more it reads.
        """
        if cut not in self._losses:
            self._losses[cut] = self._tried(cut)
        return self._losses[cut]

    def batches(self, kept_tokens: tuple[int, ...] | None = None) -> list[Batch]:
        """Return the trials' text as a student of these tokens reads it."""
        return self._start(kept_tokens).batches

    def _tried(self, cut: Cut) -> float:
        start = self._start(cut.kept_tokens)
        student = replace(start.student, network=copy.deepcopy(start.student.network))
        narrow(student.network, cut.channels, cut.kv_heads)
        drop_blocks(student.network, cut.blocks)
        if self._config.heal != "none":
            heal(
                self._teacher,
                student,
                cut,
                start.batches,
                ridge=self._config.ridge,
                cascade=self._config.heal == "cascade",
                stream=start.stream,
            )
        return self._measure(student, start.vocabulary)["kl"] * start.tokens_ratio

    def _start(self, kept_tokens: tuple[int, ...] | None) -> _Start:
        if kept_tokens in self._starts:
            # Moved to the end: the one that was not asked for longest goes first.
            self._starts[kept_tokens] = self._starts.pop(kept_tokens)
            return self._starts[kept_tokens]
        while len(self._starts) >= _HELD:
            del self._starts[next(iter(self._starts))]
        student, vocabulary = pruned(self._teacher, Cut(kept_tokens=kept_tokens))
        rows = as_student_reads(self._teacher, student, vocabulary, self._rows)
        batches = calibration_batches(self._teacher, rows)
        self._starts[kept_tokens] = _Start(
            student,
            vocabulary,
            batches,
            TeacherStream(self._teacher, batches, keep=True),
            sum(map(len, rows)) / sum(map(len, self._rows)),
        )
        return self._starts[kept_tokens]


def foretelling(
    loss: Callable[[T], float],
    trials: int,
    progress: Progress,
    clock: Callable[[], float] = time.perf_counter,
) -> Callable[[T], float]:
    """Return `loss`, which tells first how many trials a search makes about, then how long.

    How long is told after the second, since the first also reads the teacher's states.
    """
    made = 0
    progress.note(f"shrink: the search makes about {trials:,} trials")

    def timed(cut: T) -> float:
        nonlocal made
        start = clock()
        found = loss(cut)
        made += 1
        if made == 2 and trials > 2:
            took = clock() - start
            progress.note(
                f"shrink: a trial takes {took:.2g} s, so the search about "
                f"{_roughly(took * (trials - 2))} more"
            )
        return found

    return timed


def _roughly(seconds: float) -> str:
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = seconds / 60
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"


def as_student_reads(
    teacher: LoadedModel,
    student: LoadedModel,
    vocabulary: VocabularyMap | None,
    rows: Sequence[Sequence[int]],
) -> Sequence[Sequence[int]]:
    """Return text in the student's tokens, as teacher ids: what both will be compared on."""
    alignment = Alignment.of(teacher.tokenizer, student.tokenizer, vocabulary)
    return [alignment.to_teacher(alignment.to_student(row)) for row in rows]


def first_tokens(rows: Sequence[Sequence[int]], count: int) -> list[Sequence[int]]:
    """Return rows from the first on until they hold `count` tokens."""
    chosen: list[Sequence[int]] = []
    held = 0
    for row in rows:
        if held >= count:
            break
        chosen.append(row)
        held += len(row)
    return chosen


def record(cut: Cut, loss: float, **more: Any) -> dict[str, Any]:
    """Return a trial as plain JSON values: what was cut, not which channels stayed."""
    return {"blocks": list(cut.blocks), "kl": loss, **cut.widths, **more}
