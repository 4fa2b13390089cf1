"""The task's part of evaluate: both models answer the held-out rows, and a call has its price."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from potstill.errors import PotstillError
from potstill.evaluate.held_out import HeldOutRows
from potstill.evaluate.samples import choose
from potstill.evaluate.task_scores import scores_of_items
from potstill.evaluate.tasks import TaskRow, task_items
from potstill.exchanges.exchange import Exchange, Prompt, exchange_id_of
from potstill.models.chat import prompt_ids
from potstill.models.greedy import greedy_texts
from potstill.models.loaded import LoadedModel
from potstill.progress import Progress, Step
from potstill.recipe import EndpointConfig, EvaluateConfig, TaskConfig
from potstill.text.answers import AnswerForm
from potstill.work.access import RightAnswers, Server, Weights
from potstill.work.corpus import Corpus
from potstill.work.items import TaskItems
from potstill.work.samplings import asked_key, sampling_to_measure
from potstill.work.stage_records import PricedByTime, PricedByTokens, TaskOutcome

Price = PricedByTime | PricedByTokens

# Rows that a call's price is measured on where the others need no asking: as many as are decoded
# at the same time, so that a call costs what it costs among all rows.
_PRICED_ROWS = 96


@dataclass(frozen=True)
class TaskMeasure:
    """The task that both models do, and how that is scored and priced.

    `machine_hour` is the price of an hour of this machine; `seed` draws resamples, and the rows
    that a call is timed on.
    """

    task: TaskConfig
    config: EvaluateConfig
    machine_hour: float
    seed: int


@dataclass(frozen=True)
class TaskAnswers:
    """A model's greedy answers by prompt id, and what a call costs; None where nobody knows."""

    texts: Mapping[str, str]
    price: Price | None


@dataclass(frozen=True)
class _TaskAsking:
    """What a model with weights is asked: answers to `priced` prompts are timed.

    Of the other prompts those that are `known`, by prompt id, are not asked.
    """

    max_tokens: int
    machine_hour: float
    priced: frozenset[str]
    known: Mapping[str, str] = field(default_factory=dict)


def task_outcome(
    how: TaskMeasure,
    prompts: Sequence[Prompt],
    rows: HeldOutRows,
    student: LoadedModel,
    corpus: Corpus,
    *,
    unasked: int,
    progress: Progress,
) -> tuple[TaskOutcome, TaskItems]:
    """Return how the student, and the teacher where there is one, do a task on held-out prompts.

    And what the scores are made of, row by row.

    `rows` are the stored answers to them: those of a teacher without weights, and of one with
    weights what need not be asked again. `unasked` held-out prompts were in no plan. Raises
    PotstillError where no answer of the teacher is there.
    """
    author = corpus.opened.access.author
    known = {}
    if isinstance(author, Weights):
        known = stored_answers(how, prompts, rows.every, corpus)
    # Both models are priced on the same rows: what a call takes depends on how many share it.
    priced = _priced(prompts, few=bool(known), seed=how.seed)
    asking = _TaskAsking(how.task.max_tokens, how.machine_hour, priced)
    teacher, shown = None, list(prompts)
    if not isinstance(author, RightAnswers):
        knowing = replace(asking, known=known)
        teacher = _teacher_answers(knowing, prompts, rows, corpus, progress)
        shown = [p for p in prompts if p.prompt_id in teacher.texts]
        if not shown:
            raise PotstillError(
                f"the teacher's answers to the task's {len(prompts)} held-out rows are all "
                "missing; run `potstill collect` again when its server answers"
            )
    with progress.step("student does the task", total=len(shown), unit="rows") as step:
        ours = _answers(student, shown, asking, step)
    greedy = True if author.can_answer else None
    unread = rows.left_out(prompts, ours.texts, greedy=greedy, unasked=unasked)
    items = _items(how, prompts, teacher, ours)
    scores = scores_of_items(items, resamples=how.config.resamples, seed=how.seed)
    prices = {"student": ours.price, "teacher": None if teacher is None else teacher.price}
    known_prices = {name: price for name, price in prices.items() if price is not None}
    left_out = {"left_out": unread}
    return TaskOutcome(scores=scores.model_copy(update=left_out), prices=known_prices), items


def stored_answers(
    how: TaskMeasure, prompts: Sequence[Prompt], rows: Sequence[Exchange], corpus: Corpus
) -> dict[str, str]:
    """Return a teacher's answers, by prompt id, to the very questions that the task asks.

    Empty where collecting asked others. Answers that curation dropped are among them: the teacher
    would give them again.
    """
    sampling = sampling_to_measure(how.config, how.seed, greedy=True)
    if sampling.max_tokens != how.task.max_tokens:
        return {}
    key = asked_key(corpus.opened.conversation, sampling)
    wanted = {
        exchange_id_of(corpus.author_identity, p.messages, key, 0, tools=p.tool_list): p.prompt_id
        for p in prompts
    }
    return {wanted[r.exchange_id]: r.response for r in rows if r.exchange_id in wanted}


def _items(
    how: TaskMeasure, prompts: Sequence[Prompt], teacher: TaskAnswers | None, ours: TaskAnswers
) -> TaskItems:
    """Return how the prompts that the student answered were answered."""
    form = AnswerForm.of(how.task)
    rows = [
        TaskRow(
            teacher=None if teacher is None else teacher.texts[p.prompt_id],
            student=ours.texts[p.prompt_id],
            gold=None if p.gold is None else form.gold(p.gold, f"prompt {p.prompt_id}"),
            slice=p.slice,
        )
        for p in prompts
        if p.prompt_id in ours.texts
    ]
    return task_items(how.task, rows)


def _priced(prompts: Sequence[Prompt], *, few: bool, seed: int) -> frozenset[str]:
    """Return the ids of the prompts that a call's price is measured on."""
    count = _PRICED_ROWS if few else len(prompts)
    return frozenset(prompts[i].prompt_id for i in choose(count, len(prompts), seed=seed))


def _teacher_answers(
    asking: _TaskAsking,
    prompts: Sequence[Prompt],
    rows: HeldOutRows,
    corpus: Corpus,
    progress: Progress,
) -> TaskAnswers:
    """Return the teacher's answers: its weights are asked for what is not stored."""
    author = corpus.opened.access.author
    if isinstance(author, Weights):
        with progress.step("teacher does the task", total=len(prompts), unit="rows") as step:
            return _answers(corpus.opened.teacher, prompts, asking, step)
    # Past calls have no price: who gave them is not asked here.
    server = author if isinstance(author, Server) else None
    found = rows.drawn(greedy=None if server is None else True)
    price = None if server is None else _token_price(found, server.endpoint, progress)
    return TaskAnswers({row.prompt_id: row.response for row in found}, price)


def _token_price(
    rows: Sequence[Exchange], endpoint: EndpointConfig, progress: Progress
) -> PricedByTokens | None:
    """Return what a call of a server costs; None without prices, or numbers of tokens."""
    if endpoint.price_in is None or endpoint.price_out is None:
        return None
    prompt, response = mean_of(rows, "prompt_tokens"), mean_of(rows, "completion_tokens")
    if prompt is None or response is None:
        progress.note(
            "evaluate: the server did not say how many tokens some of its answers took, so what "
            "its calls cost is not known"
        )
        return None
    return PricedByTokens(
        prompt_tokens=prompt,
        response_tokens=response,
        prompt_million=endpoint.price_in,
        response_million=endpoint.price_out,
    )


def _answers(
    model: LoadedModel, prompts: Sequence[Prompt], asking: _TaskAsking, step: Step
) -> TaskAnswers:
    """Return a model's greedy answers, and the price of one, batched."""
    known = asking.known
    timed = [p for p in prompts if p.prompt_id in asking.priced]
    others = [p for p in prompts if p.prompt_id not in asking.priced and p.prompt_id not in known]
    start = time.perf_counter()
    now = asked(model, timed, max_tokens=asking.max_tokens, step=step)
    seconds = (time.perf_counter() - start) / max(1, len(timed))
    answers = {**now, **asked(model, others, max_tokens=asking.max_tokens, step=step), **known}
    step.advance(len(prompts) - len(timed) - len(others))
    price = PricedByTime(seconds_per_call=seconds, machine_hour=asking.machine_hour)
    return TaskAnswers(answers, price)


def asked(
    model: LoadedModel, prompts: Sequence[Prompt], *, max_tokens: int, step: Step | None = None
) -> dict[str, str]:
    """Return a model's greedy answers by prompt id."""
    ids = [prompt_ids(model, p.messages, p.tool_list) for p in prompts]
    texts = greedy_texts(model, ids, max_tokens=max_tokens, step=step)
    return {p.prompt_id: text for p, text in zip(prompts, texts, strict=True)}


def mean_of(rows: Sequence[Exchange], key: str) -> float | None:
    """Return the mean of the server's figures, None where it did not give them for every row."""
    known = [row.usage[key] for row in rows if key in row.usage]
    return sum(known) / len(rows) if rows and len(known) == len(rows) else None
