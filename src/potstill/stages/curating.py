"""Curate: which of the answers the student learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from potstill.collect.prompts import read_prompts
from potstill.curate.curate import curate, write_marks
from potstill.curate.curation import Curation
from potstill.curate.judge import Judge, question
from potstill.errors import PotstillError
from potstill.evaluate.samples import greedy_texts
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.overlap import prompt_text
from potstill.job import Job
from potstill.models.chat import prompt_ids
from potstill.models.load import context_length, load
from potstill.models.loaded import LoadedModel
from potstill.models.score import length_batches
from potstill.progress import Progress
from potstill.recipe import DecontaminateConfig, PromptsConfig
from potstill.stages.left_out import WHY
from potstill.stages.reading import read_answers
from potstill.stages.speaking import unlearnable
from potstill.work.plan import PromptPlan

# A judge's answer is a score and little else.
_JUDGE_TOKENS = 48
# Tokens of a batch, answers included: the most that a kill loses, and what memory has to hold.
_BATCH_TOKENS = 16_384


def curate_answers(job: Job) -> dict[str, Any]:
    """Mark every stored answer as kept or dropped, and have a server read what it has to.

    Returns the counts, and under `reading` what was read.
    """
    config = job.recipe.curate
    plan = PromptPlan.from_record(job.run.done("prompts") or {})
    gold = {p.prompt_id: p.gold for p in plan.prompts if p.gold is not None}
    rows = job.store.read()
    beyond = unlearnable(job, rows)
    found = curate(
        rows,
        config,
        gold=gold or None,
        evaluation_texts=evaluation_texts(config.decontaminate, job.progress),
        judge=_judge(job),
        text_only=job.learns_text_alone,
        unlearnable=beyond,
    )
    for note in _elsewhere(found):
        job.progress.note(note)
    found.require_training_rows()
    write_marks(job.store, found)
    _require_measured_rows(job)
    for note in found.notes:
        job.progress.note(f"curate: {note}")
    dropped = ", ".join(f"{count} {name}" for name, count in found.dropped.items() if count)
    if dropped:
        job.progress.note(
            f"curate: {found.train_kept} of {found.train} training answers kept ({dropped})"
        )
    reading = read_answers(job)
    return {**found.record(), **({} if reading is None else {"reading": reading})}


def _require_measured_rows(job: Job) -> None:
    """Refuse to go on without what a later stage cannot do without: nothing is trained in vain.

    That is an answer to a held-out prompt, and to a validation prompt where a cut is looked for.
    """
    wanted = {"held_out": "held-out", **({"validation": "validation"} if job.recipe.cuts else {})}
    for split, name in wanted.items():
        if not job.exchanges(split):
            raise PotstillError(
                f"there is no answer to a {name} prompt to measure the student on: none came, or "
                "curation left none; run the same command again to ask for what failed, or raise "
                f"prompts.{split}_count in a recipe for another directory"
            )


def _elsewhere(found: Curation) -> list[str]:
    """Return in sentences how many rows that nothing is trained on are left out, and why."""
    return [
        f"curate: {count} {split.replace('_', '-')} answers left out: {WHY.get(name, name)}"
        for split, dropped in found.elsewhere.items()
        for name, count in dropped.items()
    ]


def evaluation_texts(config: DecontaminateConfig, progress: Progress | None = None) -> list[str]:
    """Return the texts of the evaluation sets that training must stay clear of.

    How they were read is said where there is a `progress` to say it.
    """
    wanted = PromptsConfig(column=config.column)
    texts = []
    for source in config.sources:
        found = read_prompts(source, wanted)
        if progress is not None:
            for note in found.notes:
                progress.note(f"curate: {note}")
        texts += [prompt_text(turns.messages) for turns in found]
    return texts


def judge_of(named: str, job: Job) -> Judge:
    """Return the judge of that name, loaded, which asks in batches."""
    model = load(named, device=job.recipe.device, precision=job.precision, date=job.day)
    ask = partial(_asked_in_batches, model, job.progress)
    return Judge(named, model.identity, ask, kept=job.run.judge_scores_path)


def _judge(job: Job) -> Judge | None:
    """Return the judge that the recipe names, if it names one."""
    named = job.recipe.curate.judge.model
    if named is None:
        return None
    with job.progress.step("load judge"):
        judge = judge_of(named, job)
    job.require_checked("curate.judge.model", judge.identity)
    return judge


def _asked_in_batches(
    model: LoadedModel, progress: Progress, rows: Sequence[Exchange], rubric: str
) -> Iterator[dict[str, str]]:
    """Yield what a judge says of each row, by exchange id, one batch of like lengths after another.

    Which rows share a batch changes a judge's words by rounding alone: it answers greedily, and
    no row sees another's.
    """
    every = sorted(rows, key=lambda row: row.exchange_id)
    in_one = not _takes_system(model)

    def ids(row: Exchange) -> list[int]:
        system, material = question(row.messages, row.answer, rubric)
        if not in_one:
            return prompt_ids(model, (system, material))
        text = f"{system['content']}\n\n{material['content']}"
        return prompt_ids(model, ({"role": "user", "content": text},))

    with progress.step("judge answers", total=len(rows), unit="answers") as step:
        # Ids are made again for each batch: those of all rows would take more room than the rows.
        needed = {row.exchange_id: len(ids(row)) + _JUDGE_TOKENS for row in every}
        room = context_length(model)
        ordered = [row for row in every if needed[row.exchange_id] <= room]
        lengths = [needed[row.exchange_id] for row in ordered]
        if len(ordered) < len(every):
            progress.note(
                f"{len(every) - len(ordered)} of {len(every)} answers are longer than the "
                f"{room:,} tokens that the judge reads at once, and get no score"
            )
            yield {row.exchange_id: "" for row in every if needed[row.exchange_id] > room}
            step.advance(len(every) - len(ordered))
        for batch in length_batches(lengths, _BATCH_TOKENS):
            asked = [ordered[i] for i in batch]
            texts = greedy_texts(model, [ids(row) for row in asked], max_tokens=_JUDGE_TOKENS)
            yield {row.exchange_id: text for row, text in zip(asked, texts, strict=True)}
            step.advance(len(batch))


def _takes_system(model: LoadedModel) -> bool:
    """Tell whether a model's template renders a system message; some refuse one."""
    try:
        prompt_ids(model, ({"role": "system", "content": "a"}, {"role": "user", "content": "b"}))
    except PotstillError:
        return False
    return True
