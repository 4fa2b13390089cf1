"""Measure students on the text of a teacher whose weights are not at hand."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from potstill.evaluate.measure import Measured, check_held_out, held_out_text
from potstill.evaluate.samples import choose
from potstill.evaluate.speed import measure_speed
from potstill.evaluate.summary import (
    Resampling,
    difference_estimates,
    grouping,
    likelihood_items,
    model_estimates,
    summed,
)
from potstill.evaluate.text import HeldOut
from potstill.models.greedy import greedy_texts
from potstill.models.likelihood import Floats, response_nll
from potstill.models.load import head_of
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.models.size import bytes_on_disk, parameter_count
from potstill.progress import Progress
from potstill.recipe import EvaluateConfig
from potstill.work.evaluation import Differences, ModelFigures, Models, SamplePair


def evaluate_on_text(
    students: Mapping[str, LoadedModel],
    rows: Mapping[str, Sequence[HeldOut]],
    *,
    config: EvaluateConfig,
    directories: Mapping[str, Path],
    seed: int,
    progress: Progress,
) -> Measured:
    """Return perplexity, speed, size and samples of students on a teacher's held-out text.

    `rows` holds that text in the tokens of each student, by its name. How far their distributions
    are from the teacher's cannot be told from text. Raises PotstillError without held-out text.
    """
    some = rows["student"]
    check_held_out(some)
    start = time.perf_counter()
    nll: dict[str, Floats] = {}
    tokens: dict[str, Floats] = {}
    for name, student in students.items():
        nll[name], tokens[name] = _by_prompt(student, rows[name], name, progress)
    group = grouping([row.prompt_id for row in some])
    sizes = summed(np.array([row.size for row in some], dtype=float), group)
    with progress.step("measure speed and write samples") as step:
        speed = measure_speed(students, decode_tokens=config.speed_tokens)
        samples = _samples(students["student"], some, config, seed)
        step.advance()
    settings: Resampling = {"resamples": config.resamples, "seed": seed}
    column = likelihood_items(nll, tokens, sizes)
    figures = {
        name: ModelFigures(
            params=parameter_count(students[name].network),
            bytes=bytes_on_disk(directories[name]),
            prefill_tok_s=speed[name].prefill_tok_s,
            decode_tok_s=speed[name].decode_tok_s,
            **estimates,
        )
        for name, estimates in model_estimates(column, settings).items()
    }
    read = {k: [(len(r.prompt_ids), len(r.response_ids)) for r in rows[k]] for k in students}
    return Measured(
        held_out=held_out_text(some, config),
        models=Models(**figures),
        differences=Differences(**difference_estimates(column, settings)),
        vocabulary=None,
        samples=samples,
        seconds=time.perf_counter() - start,
        prompt_ids=frozenset(row.prompt_id for row in some),
        sampled=column,
        read=read,
    )


def _by_prompt(
    student: LoadedModel, rows: Sequence[HeldOut], name: str, progress: Progress
) -> tuple[Floats, Floats]:
    """Return negative log-likelihood and tokens, summed for each prompt."""
    pairs = [(row.prompt_ids, row.response_ids) for row in rows]
    responses = [response for _, response in pairs]
    with progress.step(f"read held-out text: {name}", sum(map(len, responses)), "tokens") as step:
        hidden = response_hidden(student, pairs, step=step)
    group = grouping([row.prompt_id for row in rows])
    lengths = np.array([len(response) for response in responses], dtype=float)
    return summed(response_nll(hidden, head_of(student), responses), group), summed(lengths, group)


def _samples(
    student: LoadedModel, rows: Sequence[HeldOut], config: EvaluateConfig, seed: int
) -> list[SamplePair]:
    by_prompt = list({row.prompt_id: row for row in rows}.values())
    shown = [by_prompt[i] for i in choose(config.sample_pairs, len(by_prompt), seed=seed)]
    if not shown:
        return []
    ours = greedy_texts(student, [r.prompt_ids for r in shown], max_tokens=config.max_tokens)
    return [
        SamplePair(messages=list(row.messages), teacher=row.response, student=text)
        for row, text in zip(shown, ours, strict=True)
    ]
