"""Curate: which of the answers the student learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from potstill.collect.prompts import PromptPlan, read_prompts
from potstill.curate.curate import check, curate, write_marks
from potstill.curate.judge import Judge, question
from potstill.evaluate.samples import greedy_texts
from potstill.exchanges.overlap import prompt_text
from potstill.job import Job
from potstill.models.chat import prompt_ids
from potstill.models.load import load
from potstill.recipe import PromptsConfig

# A judge's answer is a score and little else.
_JUDGE_TOKENS = 48


def check_curation(job: Job) -> None:
    """Refuse what curating would refuse, before a teacher is asked anything."""
    check(job.recipe.curate)


def curate_answers(job: Job) -> dict[str, Any]:
    """Mark every stored answer as kept or dropped; return the counts."""
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
    return found.record()


def _evaluation_texts(sources: Sequence[str], job: Job) -> list[str]:
    wanted = PromptsConfig(column=job.recipe.curate.decontaminate.column)
    return [
        prompt_text(messages) for source in sources for messages in read_prompts(source, wanted)
    ]


def _judge(job: Job) -> Judge | None:
    """Return the judge that the recipe names, loaded when it is first asked."""
    named = job.recipe.curate.judge.model
    if named is None:
        return None
    with job.progress.step("load judge"):
        model = load(named, device=job.recipe.device, precision=job.precision)

    def ask(messages: Sequence[dict[str, str]], response: str, rubric: str) -> str:
        ids = prompt_ids(model, question(messages, response, rubric))
        return greedy_texts(model, [ids], max_tokens=_JUDGE_TOKENS)[0]

    return Judge(named, model.identity, ask)
