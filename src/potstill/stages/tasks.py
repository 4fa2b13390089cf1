"""The task's part of evaluate: both models answer the held-out rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from potstill.collect.prompts import PromptPlan
from potstill.evaluate.payback import MachinePrice, Price, TokenPrice
from potstill.evaluate.samples import greedy_texts
from potstill.evaluate.tasks import TaskRow, score_task
from potstill.exchanges.exchange import Exchange, Prompt
from potstill.exchanges.task_answers import AnswerForm
from potstill.job import Job
from potstill.models.chat import prompt_ids
from potstill.models.loaded import LoadedModel


def scored_task(job: Job, student: LoadedModel) -> dict[str, Any] | None:
    """Return the scores of the recipe's task, and what a call costs; None without a task."""
    task = job.recipe.task
    if task is None:
        return None
    asked = PromptPlan.from_record(job.run.done("prompts") or {}).held_out
    with job.progress.step("answer the task", total=len(asked), unit="rows") as step:
        teacher, teacher_price = _teacher_answers(job, asked)
        shown = [p for p in asked if p.prompt_id in teacher]
        ours, price = _answers(job, student, shown)
        step.advance(len(asked))
    form = AnswerForm.of(task)
    rows = [
        TaskRow(
            teacher=teacher[p.prompt_id],
            student=ours[p.prompt_id],
            gold=None if p.gold is None else form.gold(p.gold, f"prompt {p.prompt_id}"),
            slice=p.slice,
        )
        for p in shown
    ]
    scores = score_task(task, rows, resamples=job.recipe.evaluate.resamples, seed=job.recipe.seed)
    prices = {"student": price} | ({} if teacher_price is None else {"teacher": teacher_price})
    return {
        "scores": scores.model_dump(mode="json"),
        "prices": {name: asdict(one) for name, one in prices.items()},
        "unanswered": len(asked) - len(shown),
    }


def _teacher_answers(job: Job, prompts: Sequence[Prompt]) -> tuple[dict[str, str], Price | None]:
    """Return the teacher's answers by prompt id: given now by its weights, else stored ones."""
    if job.open:
        return _answers(job, job.teacher, prompts)
    endpoint = job.recipe.teacher.endpoint
    rows = job.exchanges("held_out", greedy=None if endpoint is None else True)
    found = {row.prompt_id: row.response for row in rows}
    if endpoint is None or endpoint.price_in is None or endpoint.price_out is None or not rows:
        return found, None
    return found, TokenPrice(
        prompt_tokens=_mean(rows, "prompt_tokens"),
        response_tokens=_mean(rows, "completion_tokens"),
        prompt_million=endpoint.price_in,
        response_million=endpoint.price_out,
    )


def _answers(
    job: Job, model: LoadedModel, prompts: Sequence[Prompt]
) -> tuple[dict[str, str], Price]:
    """Return a model's greedy answers by prompt id, and the price of one, batched."""
    assert job.recipe.task is not None
    ids = [prompt_ids(model, p.messages) for p in prompts]
    start = time.perf_counter()
    texts = greedy_texts(model, ids, max_tokens=job.recipe.task.max_tokens)
    seconds = (time.perf_counter() - start) / max(1, len(prompts))
    answers = {p.prompt_id: text for p, text in zip(prompts, texts, strict=True)}
    return answers, MachinePrice(seconds, job.recipe.cost.machine_hour)


def _mean(rows: Sequence[Exchange], key: str) -> float:
    return sum(row.usage.get(key, 0) for row in rows) / len(rows)
