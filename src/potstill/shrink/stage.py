"""Shrink: the student before training, cut from its parent or taken as it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from potstill.durable import replaced_directory
from potstill.models.adopt import adopted
from potstill.models.load import save
from potstill.models.loaded import LoadedModel
from potstill.progress import Progress, Silent
from potstill.recipe import ShrinkConfig
from potstill.shrink.choose import trims_tokens
from potstill.shrink.shrink import Shrunk, shrink
from potstill.shrink.text_needs import calibration_rows, token_weights
from potstill.work.access import Weights
from potstill.work.corpus import Corpus
from potstill.work.measure import Measure
from potstill.work.opened import Compute
from potstill.work.stage_records import UNMEASURED, ShrinkRecord


@dataclass(frozen=True)
class StudentFiles:
    """Where the student before training goes: its directory, and the map of a cut vocabulary."""

    directory: Path
    vocabulary: Path


def take_student(
    who: Weights,
    compute: Compute,
    teacher: Callable[[], LoadedModel] | None,
    files: StudentFiles,
    *,
    met: Callable[[str], None],
) -> ShrinkRecord:
    """Save a trained model as the student before training, and return that none was cut.

    It takes over how its `teacher` speaks, where it learns that one's distributions. `met` is told
    its identity, and raises PotstillError where it is another one than was checked.
    """
    student = compute.load(who, trainable=True)
    met(student.identity)
    if teacher is not None:
        student = adopted(student, teacher())
    with replaced_directory(files.directory) as directory:
        save(student, directory)
    return ShrinkRecord(blocks=None, **UNMEASURED)


def cut_student(
    corpus: Corpus,
    config: ShrinkConfig,
    files: StudentFiles,
    *,
    measure: Measure,
    progress: Progress = Silent(),
) -> Shrunk:
    """Cut the student from its parent, heal it, save it, and return how it came about.

    `measure` compares students on validation prompts. Raises PotstillError where the parent cannot
    be cut as the recipe says.
    """
    parent = corpus.opened.parent
    trims = trims_tokens(config, parent.tokenizer)
    made = shrink(
        parent,
        config,
        calibration_rows(corpus, config.calibration_tokens),
        token_weights(corpus) if trims else None,
        measure=measure,
        progress=progress,
    )
    if made.vocabulary is not None:
        made.vocabulary.save(files.vocabulary)
    with replaced_directory(files.directory) as directory:
        save(made.student, directory)
    return made
