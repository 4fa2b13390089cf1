"""Curate: which of the answers the student learns from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from potstill.collect.prompts import PromptPlan, read_prompts
from potstill.curate.curate import check, curate, write_marks
from potstill.curate.judge import Judge, question
from potstill.evaluate.samples import greedy_texts
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.overlap import prompt_text
from potstill.job import Job
from potstill.models.chat import prompt_ids
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.score import length_batches
from potstill.progress import Progress
from potstill.recipe import PromptsConfig
from potstill.stages.reading import read_answers

# A judge's answer is a score and little else.
_JUDGE_TOKENS = 48
# Tokens of a batch, answers included: the most that a kill loses, and what memory has to hold.
_BATCH_TOKENS = 16_384


def check_curation(job: Job) -> None:
    """Refuse what curating would refuse, before a teacher is asked anything."""
    check(job.recipe.curate)


def curate_answers(job: Job) -> dict[str, Any]:
    """Mark every stored answer as kept or dropped, and have a server read what it has to.

    Returns the counts, and under `reading` what was read.
    """
    config = job.recipe.curate
    plan = PromptPlan.from_record(job.run.done("prompts") or {})
    gold = {p.prompt_id: p.gold for p in plan.prompts if p.gold is not None}
    found = curate(
        job.store.read(),
        config,
        gold=gold or None,
        evaluation_texts=_evaluation_texts(config.decontaminate.sources, job),
        judge=_judge(job),
        text_only=job.learns_text_alone,
    )
    found.require_training_rows()
    write_marks(job.store, found)
    for note in found.notes:
        job.progress.note(f"curate: {note}")
    dropped = ", ".join(f"{count} {name}" for name, count in found.dropped.items() if count)
    if dropped:
        job.progress.note(
            f"curate: {found.train_kept} of {found.train} training answers kept ({dropped})"
        )
    reading = read_answers(job)
    return {**found.record(), **({} if reading is None else {"reading": reading})}


def _evaluation_texts(sources: Sequence[str], job: Job) -> list[str]:
    wanted = PromptsConfig(column=job.recipe.curate.decontaminate.column)
    return [
        prompt_text(turns.messages) for source in sources for turns in read_prompts(source, wanted)
    ]


def _judge(job: Job) -> Judge | None:
    """Return the judge that the recipe names, loaded, which asks in batches."""
    named = job.recipe.curate.judge.model
    if named is None:
        return None
    with job.progress.step("load judge"):
        model = load(named, device=job.recipe.device, precision=job.precision)
    ask = partial(_asked_in_batches, model, job.progress)
    return Judge(named, model.identity, ask, kept=job.run.judge_scores_path)


def _asked_in_batches(
    model: LoadedModel, progress: Progress, rows: Sequence[Exchange], rubric: str
) -> Iterator[dict[str, str]]:
    """Yield what a judge says of each row, by exchange id, one batch of like lengths after another.

    Which rows share a batch changes a judge's words by rounding alone: it answers greedily, and
    no row sees another's.
    """
    ordered = sorted(rows, key=lambda row: row.exchange_id)

    def ids(row: Exchange) -> list[int]:
        return prompt_ids(model, question(row.messages, row.answer, rubric))

    with progress.step("judge answers", total=len(rows), unit="answers") as step:
        # Ids are made again for each batch: those of all rows would take more room than the rows.
        lengths = [len(ids(row)) + _JUDGE_TOKENS for row in ordered]
        for batch in length_batches(lengths, _BATCH_TOKENS):
            asked = [ordered[i] for i in batch]
            texts = greedy_texts(model, [ids(row) for row in asked], max_tokens=_JUDGE_TOKENS)
            yield {row.exchange_id: text for row, text in zip(asked, texts, strict=True)}
            step.advance(len(batch))
