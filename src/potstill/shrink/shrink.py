"""Teacher to smaller student: fewer and narrower blocks, fewer tokens, healed in closed form."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from potstill.errors import PotstillError
from potstill.models.load import blocks_of, trainable_copy
from potstill.models.loaded import LoadedModel
from potstill.models.vocabulary import Recoder, VocabularyMap
from potstill.progress import Progress
from potstill.recipe import ShrinkConfig
from potstill.shrink.blocks import drop_blocks
from potstill.shrink.cut import Cut
from potstill.shrink.heal import heal
from potstill.shrink.importance import rank
from potstill.shrink.search import Trial, search_blocks
from potstill.shrink.streams import Batch, TeacherStream, calibration_batches
from potstill.shrink.vocabulary import (
    choose_tokens,
    map_of,
    merges_of,
    trim_network,
    trimmed_tokenizer,
)
from potstill.shrink.width import attentions, feed_forwards, narrow

# Tokens that a trial of the block search is healed on: enough to rank, not to keep.
TRIAL_TOKENS = 4096

# KL per token and agreement of a student on text that is neither trained on nor held out.
Measure = Callable[[LoadedModel, VocabularyMap | None], dict[str, float]]


@dataclass(frozen=True)
class Shrunk:
    """A student made from its teacher, and how it came about."""

    student: LoadedModel
    vocabulary: VocabularyMap | None
    cut: Cut
    figures: dict[str, Any]


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
    token (None where the vocabulary stays whole). `measure` is asked before and after healing.
    """
    kept_tokens = None
    if config.vocabulary is not None and weight_V is not None:
        merges = merges_of(teacher.tokenizer)
        kept_tokens = tuple(choose_tokens(merges, weight_V, config.vocabulary))
    student, vocabulary = pruned(teacher, Cut((), kept_tokens))
    rows = _as_student_reads(teacher, student, vocabulary, calibration)
    width = _width(teacher, config, rows, progress)
    narrow(student.network, width.channels, width.kv_heads)
    blocks, trials = _choose_blocks(
        teacher, student, config, rows, lambda trial: measure(trial, vocabulary), progress
    )
    drop_blocks(student.network, blocks)
    cut = replace(width, blocks=blocks, kept_tokens=kept_tokens)
    plain = measure(student, vocabulary)
    refitted: list[int] = []
    if config.heal != "none" and (blocks or cut.channels or cut.kv_heads):
        batches = calibration_batches(teacher, rows)
        refitted = _healed(teacher, student, blocks, batches, config, progress)
    figures = {
        "blocks": list(blocks),
        "heal": config.heal,
        "refitted": refitted,
        "calibration_tokens": sum(len(row) for row in calibration),
        "plain": plain,
        "healed": measure(student, vocabulary),
        "trials": [{"blocks": list(t.blocks), "kl": t.kl} for t in trials],
    }
    return Shrunk(student, vocabulary, cut, figures)


def pruned(teacher: LoadedModel, cut: Cut) -> tuple[LoadedModel, VocabularyMap | None]:
    """Return the teacher with the cut made and nothing healed, in fp32, and its token map.

    The teacher in memory may be in bf16: its fp32 weights are read from where it came from.
    """
    student = trainable_copy(teacher)
    narrow(student.network, cut.channels, cut.kv_heads)
    if cut.blocks:
        drop_blocks(student.network, cut.blocks)
    vocabulary = None
    if cut.kept_tokens is not None:
        width = student.network.get_output_embeddings().weight.shape[0]
        tokenizer = trimmed_tokenizer(teacher.tokenizer, cut.kept_tokens)
        vocabulary = map_of(teacher.tokenizer, tokenizer, cut.kept_tokens, width)
        trim_network(student.network, cut.kept_tokens)
        eos = {old: new for new, old in enumerate(cut.kept_tokens)}
        student = replace(
            student, tokenizer=tokenizer, eos_ids=tuple(eos[e] for e in teacher.eos_ids)
        )
    return student, vocabulary


def _as_student_reads(
    teacher: LoadedModel,
    student: LoadedModel,
    vocabulary: VocabularyMap | None,
    rows: Sequence[Sequence[int]],
) -> Sequence[Sequence[int]]:
    """Return text in the student's tokens, as teacher ids: what both will be compared on."""
    if vocabulary is None:
        return rows
    recoder = Recoder(teacher.tokenizer, student.tokenizer, vocabulary)
    return [recoder.to_teacher(recoder.to_student(row)) for row in rows]


def _width(
    teacher: LoadedModel,
    config: ShrinkConfig,
    rows: Sequence[Sequence[int]],
    progress: Progress,
) -> Cut:
    """Return the channels and heads that stay, where the recipe asks for fewer."""
    if config.ffn_channels is None and config.kv_heads is None:
        return Cut()
    _check_width(teacher, config)
    ranking = rank(
        teacher,
        calibration_batches(teacher, rows),
        channels=config.ffn_channels is not None,
        heads=config.kv_heads is not None,
        ridge=config.ridge,
        progress=progress,
    )
    return Cut(
        channels=ranking.kept_channels(config.ffn_channels) if config.ffn_channels else None,
        kv_heads=ranking.kept_kv_heads(config.kv_heads) if config.kv_heads else None,
    )


def _check_width(teacher: LoadedModel, config: ShrinkConfig) -> None:
    """Raise PotstillError where the recipe asks for more channels or heads than there are."""
    asked = {"ffn_channels": config.ffn_channels, "kv_heads": config.kv_heads}
    present = {
        "ffn_channels": feed_forwards(teacher.network)[0].channels if config.ffn_channels else 0,
        "kv_heads": attentions(teacher.network)[0].kv_heads if config.kv_heads else 0,
    }
    for name, count in asked.items():
        if count is not None and count > present[name]:
            raise PotstillError(
                f"shrink.{name} is {count}, but the teacher has only {present[name]} in a block; "
                f"ask for fewer, or remove shrink.{name}"
            )


def _choose_blocks(
    teacher: LoadedModel,
    whole: LoadedModel,
    config: ShrinkConfig,
    rows: Sequence[Sequence[int]],
    measure: Callable[[LoadedModel], dict[str, float]],
    progress: Progress,
) -> tuple[tuple[int, ...], list[Trial]]:
    """Return the blocks to drop: the recipe's own, or the search's.

    Trials start from `whole`, the student with all of its blocks: which blocks it can spare
    depends on its vocabulary too.
    """
    if config.blocks is not None:
        return tuple(sorted(config.blocks)), []
    if config.drop_layers == 0:
        return (), []
    batches = calibration_batches(teacher, _first_tokens(rows, TRIAL_TOKENS))
    stream = TeacherStream(teacher, batches, keep=True)

    def healed_loss(blocks: Sequence[int]) -> float:
        student = replace(whole, network=copy.deepcopy(whole.network))
        drop_blocks(student.network, blocks)
        if config.heal != "none":
            kept = _kept(teacher, blocks)
            heal(
                teacher,
                student,
                kept,
                batches,
                ridge=config.ridge,
                cascade=config.heal == "cascade",
                stream=stream,
            )
        return measure(student)["kl"]

    return search_blocks(
        teacher,
        batches,
        config.drop_layers,
        candidates=config.candidates,
        beam=config.beam,
        healed_loss=healed_loss,
        progress=progress,
    )


def _healed(
    teacher: LoadedModel,
    student: LoadedModel,
    blocks: Sequence[int],
    batches: Sequence[Batch],
    config: ShrinkConfig,
    progress: Progress,
) -> list[int]:
    kept = _kept(teacher, blocks)
    total = len(blocks_of(teacher.network))
    with progress.step("heal", total=total, unit="blocks") as step:
        refitted = heal(
            teacher,
            student,
            kept,
            batches,
            ridge=config.ridge,
            cascade=config.heal == "cascade",
            step=step,
        )
    if not refitted:
        progress.note(
            "This architecture puts something between its feed-forward part and the residual "
            "stream, so the dropped blocks were not healed in closed form."
        )
    return refitted


def _kept(teacher: LoadedModel, blocks: Sequence[int]) -> list[int]:
    return [i for i in range(len(blocks_of(teacher.network))) if i not in set(blocks)]


def _first_tokens(rows: Sequence[Sequence[int]], count: int) -> list[Sequence[int]]:
    """Return rows from the first on until they hold `count` tokens."""
    chosen: list[Sequence[int]] = []
    held = 0
    for row in rows:
        if held >= count:
            break
        chosen.append(row)
        held += len(row)
    return chosen
