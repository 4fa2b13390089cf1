"""The task's part of evaluate: both models answer the held-out rows."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from potstill.collect.answers import asked_key
from potstill.errors import PotstillError
from potstill.evaluate.payback import MachinePrice, Price, TokenPrice
from potstill.evaluate.samples import choose, greedy_texts
from potstill.evaluate.tasks import TaskRow, score_task
from potstill.exchanges.exchange import Exchange, Prompt, exchange_id_of
from potstill.job import Job
from potstill.models.chat import prompt_ids
from potstill.models.loaded import LoadedModel
from potstill.progress import Step
from potstill.stages.left_out import left_out
from potstill.text.answers import AnswerForm
from potstill.work.plan import PromptPlan
from potstill.work.samplings import held_out_sampling

# Rows that a call's price is measured on where the others need no asking: as many as are decoded
# at the same time, so that a call costs what it costs among all rows.
_PRICED_ROWS = 96


def scored_task(job: Job, student: LoadedModel) -> dict[str, Any] | None:
    """Return the scores of the recipe's task, and what a call costs; None without a task."""
    task = job.recipe.task
    if task is None:
        return None
    asked = PromptPlan.from_record(job.run.done("prompts") or {}).held_out
    if job.recipe.collect.gold:
        return _without_teacher(job, student, asked)
    stored = _stored_answers(job, asked)
    # Both models are priced on the same rows: what a call takes depends on how many share it.
    priced = _priced(asked, few=bool(stored), seed=job.recipe.seed)
    teacher, teacher_price = _teacher_answers(job, asked, stored, priced)
    shown = [p for p in asked if p.prompt_id in teacher]
    if not shown:
        raise PotstillError(
            f"the teacher's answers to the task's {len(asked)} held-out rows are all missing; run "
            "`potstill collect` again when its server answers"
        )
    with job.progress.step("student does the task", total=len(shown), unit="rows") as step:
        ours, price = _answers(job, student, shown, priced, step)
    prices = {"student": price} | ({} if teacher_price is None else {"teacher": teacher_price})
    return _scored(job, asked, teacher, ours, prices)


def _without_teacher(job: Job, student: LoadedModel, asked: Sequence[Prompt]) -> dict[str, Any]:
    """Return the student's scores against right answers, which are nobody's to compare with."""
    priced = {p.prompt_id for p in asked}
    with job.progress.step("student does the task", total=len(asked), unit="rows") as step:
        ours, price = _answers(job, student, asked, priced, step)
    return _scored(job, asked, None, ours, {"student": price})


def _scored(
    job: Job,
    asked: Sequence[Prompt],
    teacher: Mapping[str, str] | None,
    ours: Mapping[str, str],
    prices: Mapping[str, Price],
) -> dict[str, Any]:
    """Return the scores of the prompts that the student answered, and what calls cost."""
    task = job.recipe.task
    assert task is not None
    form = AnswerForm.of(task)
    rows = [
        TaskRow(
            teacher=None if teacher is None else teacher[p.prompt_id],
            student=ours[p.prompt_id],
            gold=None if p.gold is None else form.gold(p.gold, f"prompt {p.prompt_id}"),
            slice=p.slice,
        )
        for p in asked
        if p.prompt_id in ours
    ]
    scores = score_task(task, rows, resamples=job.recipe.evaluate.resamples, seed=job.recipe.seed)
    greedy = None if job.recipe.collect.answers_given else True
    unread = left_out(job, "held_out", asked, ours, greedy=greedy)
    return {
        "scores": scores.model_dump(mode="json") | {"left_out": unread},
        "prices": {name: asdict(one) for name, one in prices.items()},
    }


def _stored_answers(job: Job, prompts: Sequence[Prompt]) -> dict[str, str]:
    """Return the teacher's answers, by prompt id, to the very questions that the task asks.

    Empty where collecting asked others, and for a teacher without weights, all of whose answers
    are stored ones.
    """
    task, sampling = job.recipe.task, held_out_sampling(job.recipe, greedy=True)
    if task is None or not job.open or sampling.max_tokens != task.max_tokens:
        return {}
    key = asked_key(job.spoken, sampling)
    wanted = {
        exchange_id_of(job.teacher_identity, p.messages, key, 0, tools=p.tool_list): p.prompt_id
        for p in prompts
    }
    # Answers that curation dropped are among them: the teacher would give them again.
    rows = job.store.read("held_out")
    return {wanted[r.exchange_id]: r.response for r in rows if r.exchange_id in wanted}


def _priced(prompts: Sequence[Prompt], *, few: bool, seed: int) -> set[str]:
    """Return the ids of the prompts that a call's price is measured on."""
    count = _PRICED_ROWS if few else len(prompts)
    return {prompts[i].prompt_id for i in choose(count, len(prompts), seed=seed)}


def _teacher_answers(
    job: Job, prompts: Sequence[Prompt], stored: Mapping[str, str], priced: Collection[str]
) -> tuple[dict[str, str], Price | None]:
    """Return the teacher's answers by prompt id: its weights are asked for what is not stored."""
    if job.open:
        with job.progress.step("teacher does the task", total=len(prompts), unit="rows") as step:
            return _answers(job, job.teacher, prompts, priced, step, stored)
    endpoint = job.recipe.teacher.endpoint
    if job.recipe.collect.answers_given:
        endpoint = None  # it answered nothing
    rows = job.exchanges("held_out", greedy=None if endpoint is None else True)
    found = {row.prompt_id: row.response for row in rows}
    if endpoint is None or endpoint.price_in is None or endpoint.price_out is None:
        return found, None
    prompt, response = _mean(rows, "prompt_tokens"), _mean(rows, "completion_tokens")
    if prompt is None or response is None:
        job.progress.note(
            "evaluate: the server did not say how many tokens some of its answers took, so what "
            "its calls cost is not known"
        )
        return found, None
    return found, TokenPrice(
        prompt_tokens=prompt,
        response_tokens=response,
        prompt_million=endpoint.price_in,
        response_million=endpoint.price_out,
    )


def _answers(
    job: Job,
    model: LoadedModel,
    prompts: Sequence[Prompt],
    priced: Collection[str],
    step: Step,
    stored: Mapping[str, str] | None = None,
) -> tuple[dict[str, str], Price]:
    """Return a model's greedy answers by prompt id, and the price of one, batched.

    The price is measured on the prompts `priced`; of the others those in `stored` are not asked.
    """
    known = dict(stored or {})
    timed = [p for p in prompts if p.prompt_id in priced]
    others = [p for p in prompts if p.prompt_id not in priced and p.prompt_id not in known]
    start = time.perf_counter()
    now = _asked(job, model, timed, step)
    seconds = (time.perf_counter() - start) / max(1, len(timed))
    answers = {**now, **_asked(job, model, others, step), **known}
    step.advance(len(prompts) - len(timed) - len(others))
    return answers, MachinePrice(seconds, job.recipe.cost.machine_hour)


def _asked(
    job: Job, model: LoadedModel, prompts: Sequence[Prompt], step: Step | None = None
) -> dict[str, str]:
    """Return a model's greedy answers by prompt id."""
    assert job.recipe.task is not None
    ids = [prompt_ids(model, p.messages, p.tool_list) for p in prompts]
    texts = greedy_texts(model, ids, max_tokens=job.recipe.task.max_tokens, step=step)
    return {p.prompt_id: text for p, text in zip(prompts, texts, strict=True)}


def _mean(rows: Sequence[Exchange], key: str) -> float | None:
    """Return the mean of the server's figures, None where it did not give them for every row."""
    known = [row.usage[key] for row in rows if key in row.usage]
    return sum(known) / len(rows) if rows and len(known) == len(rows) else None
