"""Score: a server reads the stored answers that training has no targets of."""

from __future__ import annotations

from typing import Any

from potstill.collect.endpoint_scoring import (
    GivenText,
    score_by_endpoint,
    scoring_note,
    spent_on_scoring,
)
from potstill.collect.pending import spent_on
from potstill.collect.targets import training_spec
from potstill.curate.reasoning import training_text
from potstill.exchanges.exchange import Exchange
from potstill.job import Job, Text
from potstill.models.endpoint.budget import Prices, Tokens
from potstill.models.loaded import LoadedModel


def read_again(job: Job) -> list[Exchange]:
    """Return the stored exchanges that the server was given to read, beside any answering."""
    read = job.read_by_server
    rows = job.store.read() if read else []
    return [r for r in rows if r.exchange_id in read and r.response_token_ids is None]


def score_answers(job: Job, student: LoadedModel) -> dict[str, Any] | None:
    """Have the teacher's server read the training answers without targets; return the figures.

    None where it reads no given text. Answers with reasoning or tool calls keep none: what stands
    in their place is not what the server would have gone on from.
    """
    endpoint, tokens = job.recipe.teacher.endpoint, job.served_tokens
    spec = training_spec(job.recipe.collect, job.recipe.train.temperature)
    if endpoint is None or not endpoint.scores_text or tokens is None or spec is None:
        return None
    read = job.read_by_server
    texts = [t for t in job.texts(job.exchanges("train"), student) if _whole(t, job)]
    missing = [_given(t) for t in texts if t.exchange.exchange_id not in read]
    answered = [row for row in job.store.read() if row.teacher == job.teacher_identity]
    figures = score_by_endpoint(
        endpoint,
        job.recipe.teacher.model,
        missing,
        tokens,
        spec,
        job.store,
        job.scorer_decision,
        spent=spent_on(answered) + _spent_on_reading(job, student),
        progress=job.progress,
    )
    if missing:
        job.progress.note(scoring_note(figures, job.recipe.cost.currency))
    # What earlier calls of this run had read is paid for too.
    prices = Prices(endpoint.price_in, endpoint.price_out)
    return figures.record() | {"money": prices.of(_spent_on_reading(job, student))}


def _spent_on_reading(job: Job, student: LoadedModel) -> Tokens:
    return spent_on_scoring([_given(text) for text in job.texts(read_again(job), student)])


def _given(text: Text) -> GivenText:
    return GivenText(text.exchange.exchange_id, text.prompt_ids, text.response_ids)


def _whole(text: Text, job: Job) -> bool:
    """Tell whether what is learnt is all that was answered: only then is it the server's text."""
    row, how = text.exchange, job.recipe.curate.reasoning
    whole = not row.reasoning and not row.tool_calls
    return whole and training_text(row, how) == row.response
