"""Measure teacher, student and baselines on held-out text: the models part of evaluation.json."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from potstill.errors import PotstillError
from potstill.evaluate.own_text import with_own_text
from potstill.evaluate.samples import choose
from potstill.evaluate.speed import Speed, measure_speed
from potstill.evaluate.summary import (
    Resampling,
    difference_estimates,
    greedy_estimates,
    mass_removed_estimate,
    model_estimates,
)
from potstill.evaluate.text import HeldOut, Lengths, measure_text
from potstill.models.greedy import greedy_texts
from potstill.models.loaded import LoadedModel
from potstill.models.size import bytes_in_memory, bytes_on_disk, parameter_count
from potstill.models.vocabulary import VocabularyMap
from potstill.progress import Progress
from potstill.recipe import EvaluateConfig
from potstill.work.evaluation import (
    Differences,
    GreedyFidelity,
    HeldOutText,
    ModelFigures,
    Models,
    SamplePair,
    Vocabulary,
)
from potstill.work.items import TextItems


@dataclass(frozen=True)
class Measured:
    """What `evaluate` found, as sections of evaluation.json.

    `read` holds, by model, (prompt tokens, response tokens) of every sequence that it read:
    what the evaluation's cost is counted from (speed and samples are left out). `prompt_ids` are
    the held-out prompts that were read. `sampled` and `greedy` are what figures are made of.
    """

    held_out: HeldOutText
    models: Models
    differences: Differences
    vocabulary: Vocabulary | None
    samples: list[SamplePair]
    seconds: float
    read: Mapping[str, Sequence[Lengths]]
    prompt_ids: frozenset[str]
    sampled: TextItems
    greedy: TextItems | None = None


def evaluate(
    teacher: LoadedModel,
    students: Mapping[str, LoadedModel],
    sampled: Sequence[HeldOut],
    greedy: Sequence[HeldOut],
    *,
    vocabulary: VocabularyMap | None,
    config: EvaluateConfig,
    directories: Mapping[str, Path],
    seed: int,
    progress: Progress,
    own_text: bool = False,
) -> Measured:
    """Return fidelity, speed, size and samples of a teacher and its students.

    `students` holds `student` and, where they exist, `untrained`, `pruned` and
    `cross_entropy`. `sampled` is teacher text drawn at temperature 1 without truncation,
    `greedy` its likeliest text (empty where not asked), which only trained students read.
    `directories` says where models lie on disk, by name, `teacher` included; a model that lies
    nowhere counts its parameters' bytes. With `own_text` students are measured on what they write
    themselves too.

    Raises PotstillError without held-out text, and where a student's vocabulary does not fit.
    """
    check_held_out(sampled)
    start = time.perf_counter()
    trained = {name: m for name, m in students.items() if name not in ("untrained", "pruned")}
    texts = {"held-out text": (sampled, students), "greedy text": (greedy, trained)}
    figures = {
        name: measure_text(teacher, read_by, rows, vocabulary, progress=progress, name=name)
        for name, (rows, read_by) in texts.items()
        if rows
    }
    column = figures["held-out text"].items
    read = [one.read for one in figures.values()]
    if own_text:
        column, own_read = with_own_text(
            column,
            teacher,
            students,
            sampled,
            vocabulary,
            max_tokens=config.max_tokens,
            seed=seed,
            progress=progress,
        )
        read.append(own_read)
    likeliest = figures["greedy text"].items if "greedy text" in figures else None
    named = {"teacher": teacher, **students}
    with progress.step("measure speed and write samples") as step:
        speed = measure_speed(named, decode_tokens=config.speed_tokens)
        step.advance()
        samples = _samples(teacher, students["student"], sampled, greedy, config, seed)
        step.advance()
    settings: Resampling = {"resamples": config.resamples, "seed": seed}
    plain = {
        name: _plain(model, directories.get(name), speed[name]) for name, model in named.items()
    }
    return Measured(
        held_out=held_out_text(sampled, config),
        models=_models(plain, column, likeliest, settings),
        differences=Differences(**difference_estimates(column, settings)),
        vocabulary=_vocabulary(vocabulary, column, settings),
        samples=samples,
        seconds=time.perf_counter() - start,
        prompt_ids=frozenset(row.prompt_id for row in sampled),
        sampled=column,
        greedy=likeliest,
        read={k: [n for one in read for n in one.get(k, ())] for k in named},
    )


def _plain(model: LoadedModel, directory: Path | None, speed: Speed) -> dict[str, Any]:
    return {
        "params": parameter_count(model.network),
        "bytes": _bytes(model, directory),
        "prefill_tok_s": speed.prefill_tok_s,
        "decode_tok_s": speed.decode_tok_s,
    }


def check_held_out(sampled: Sequence[HeldOut]) -> None:
    if not sampled:
        raise PotstillError(
            "there is no held-out exchange to evaluate on; raise prompts.held_out_count or give "
            "prompts.held_out more prompts"
        )
    if not any(row.size for row in sampled):
        raise PotstillError(
            "every held-out response of the teacher is empty, so there is no text to measure "
            "on; check that the teacher suits these prompts and has the right chat template"
        )


def _models(
    plain: Mapping[str, Mapping[str, Any]],
    column: TextItems,
    greedy: TextItems | None,
    settings: Resampling,
) -> Models:
    likeliest = {} if greedy is None else greedy_estimates(greedy, settings)
    found = {
        name: ModelFigures(
            **plain[name],
            **estimates,
            greedy=GreedyFidelity(**likeliest[name]) if name in likeliest else None,
        )
        for name, estimates in model_estimates(column, settings).items()
    }
    return Models(**found)


def _vocabulary(
    vocabulary: VocabularyMap | None, column: TextItems, settings: Resampling
) -> Vocabulary | None:
    if vocabulary is None:
        return None
    return Vocabulary(
        kept=len(vocabulary.teacher_ids_K),
        of=int((vocabulary.student_ids_V >= 0).sum()),
        teacher_mass_removed=mass_removed_estimate(column, settings),
    )


def held_out_text(sampled: Sequence[HeldOut], config: EvaluateConfig) -> HeldOutText:
    return HeldOutText(
        prompts=len({row.prompt_id for row in sampled}),
        tokens=sum(len(row.response_ids) for row in sampled),
        max_tokens=config.max_tokens,
        sampling={"temperature": 1.0, "top_p": 1.0, "top_k": 0},
    )


def _samples(
    teacher: LoadedModel,
    student: LoadedModel,
    sampled: Sequence[HeldOut],
    greedy: Sequence[HeldOut],
    config: EvaluateConfig,
    seed: int,
) -> list[SamplePair]:
    """Return greedy responses side by side; the teacher's is at hand where it was collected."""
    by_prompt = list({row.prompt_id: row for row in greedy or sampled}.values())
    shown = [by_prompt[i] for i in choose(config.sample_pairs, len(by_prompt), seed=seed)]
    if not shown:
        return []
    longest = config.max_tokens
    theirs = (
        [row.response for row in shown]
        if greedy
        else greedy_texts(teacher, [r.teacher_prompt_ids for r in shown], max_tokens=longest)
    )
    ours = greedy_texts(student, [r.prompt_ids for r in shown], max_tokens=longest)
    return [
        SamplePair(messages=list(row.messages), teacher=t, student=s)
        for row, t, s in zip(shown, theirs, ours, strict=True)
    ]


def _bytes(model: LoadedModel, directory: Path | None) -> int:
    return bytes_on_disk(directory) if directory is not None else bytes_in_memory(model.network)
