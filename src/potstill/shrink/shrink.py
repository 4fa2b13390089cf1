"""Teacher to smaller student: fewer and narrower blocks, fewer tokens, healed in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from potstill.models.load import blocks_of
from potstill.models.loaded import LoadedModel
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Progress
from potstill.recipe import ShrinkConfig
from potstill.shrink.choose import chosen_cut
from potstill.shrink.cut import Cut
from potstill.shrink.heal import heal
from potstill.shrink.making import pruned
from potstill.shrink.streams import calibration_batches
from potstill.shrink.token_ids import dropped_ids
from potstill.shrink.trials import as_student_reads
from potstill.work.measure import Measure
from potstill.work.stage_records import UNMEASURED, CutMeasure, ShrinkRecord, TriedCut


@dataclass(frozen=True)
class Shrunk:
    """A student made from its teacher, and how it came about."""

    student: LoadedModel
    vocabulary: VocabularyMap | None
    cut: Cut
    record: ShrinkRecord


def shrink(
    teacher: LoadedModel,
    config: ShrinkConfig,
    calibration: Sequence[Sequence[int]],
    weight_V: Tensor | None,
    *,
    measure: Measure,
    progress: Progress,
) -> Shrunk:
    """Return the healed student.

    `calibration` are rows of teacher ids (prompt and response) of at most
    `config.calibration_tokens` in all; `weight_V` says how much the job's text needs each
    token (None where the vocabulary stays whole). `measure` is asked about every student that
    is tried, and before and after healing. Raises PotstillError where the teacher cannot be
    cut as the recipe says.
    """
    cut, trials = chosen_cut(
        teacher, config, calibration, weight_V, measure=measure, progress=progress
    )
    student, vocabulary = pruned(teacher, cut)
    plain = measure(student, vocabulary)
    refitted: list[int] = []
    if config.heal != "none" and replace(cut, kept_tokens=None) != Cut():
        rows = as_student_reads(teacher, student, vocabulary, calibration)
        refitted = healed(teacher, student, cut, rows, config, progress)
    after = measure(student, vocabulary)
    record = ShrinkRecord(
        blocks=cut.blocks,
        kept_tokens=cut.kept_tokens,
        channels=cut.channels,
        kv_heads=cut.kv_heads,
        heal=config.heal,
        refitted=tuple(refitted),
        calibration_tokens=sum(len(row) for row in calibration),
        plain=CutMeasure(**plain),
        healed=CutMeasure(**after),
        trials=tuple(TriedCut.model_validate(trial) for trial in trials),
        ids_dropped=_ids_dropped(teacher, cut, progress),
        **UNMEASURED,
    )
    repaired = " and not healed"
    if refitted:
        repaired = f", {after['kl']:.3f} and {after['agreement']:.3f} healed"
    progress.note(
        f"shrink: KL {plain['kl']:.3f} and agreement {plain['agreement']:.3f} cut{repaired}, on "
        "validation prompts"
    )
    return Shrunk(student, vocabulary, cut, record)


def _ids_dropped(teacher: LoadedModel, cut: Cut, progress: Progress) -> dict[str, int]:
    """Return how many entries of config fields went with the tokens that they name, and say so."""
    if cut.kept_tokens is None:
        return {}
    dropped = dropped_ids(teacher.network, {old: new for new, old in enumerate(cut.kept_tokens)})
    if dropped:
        fields = ", ".join(f"{count} of {name}" for name, count in sorted(dropped.items()))
        progress.note(
            f"shrink: the student lacks tokens that the teacher's configs name, and was left "
            f"without these entries: {fields}."
        )
    return dropped


def healed(
    teacher: LoadedModel,
    student: LoadedModel,
    cut: Cut,
    rows: Sequence[Sequence[int]],
    config: ShrinkConfig,
    progress: Progress,
) -> list[int]:
    """Heal a student in place on rows of teacher ids; return the blocks that were refitted."""
    total = len(blocks_of(teacher.network))
    with progress.step("heal", total=total, unit="blocks") as step:
        refitted = heal(
            teacher,
            student,
            cut,
            calibration_batches(teacher, rows),
            ridge=config.ridge,
            cascade=config.heal == "cascade",
            step=step,
        )
    if not refitted:
        progress.note(
            "This architecture's blocks write to the residual stream in no way that can be "
            "refitted in closed form, so the dropped blocks were not healed."
        )
    return refitted
