"""Read: a server reads the answers that were kept and of which there are no targets."""

from __future__ import annotations

from typing import Any

from potstill.collect.served.pending import spent_on
from potstill.collect.served.reading import GivenText, require_reading, score_by_endpoint
from potstill.collect.served.reading_log import ReadingLog
from potstill.endpoint.budget import Tokens
from potstill.exchanges.exchange import Exchange
from potstill.job import Job
from potstill.work.target_specs import training_spec


def reading_log(job: Job) -> ReadingLog | None:
    """Return what the recipe's server was given to read so far; None where it reads nothing."""
    endpoint, tokens = job.recipe.teacher.endpoint, job.served_tokens
    if endpoint is None or not endpoint.scores_text or tokens is None:
        return None
    return ReadingLog(job.run.readings_path, tokens.tokenizer_id)


def spent_on_reading(job: Job) -> Tokens:
    """Return what reading was charged with so far."""
    log = reading_log(job)
    return Tokens() if log is None else log.spent


def check_reading(job: Job) -> None:
    """Raise PotstillError where the server turns out to read nothing; asked once in a run."""
    endpoint, tokens, log = job.recipe.teacher.endpoint, job.served_tokens, reading_log(job)
    spec = training_spec(job.recipe.collect, job.recipe.train.temperature)
    if endpoint is None or tokens is None or log is None or spec is None or log.reads:
        return
    spent, decision = spent_on(_answered(job)), job.scorer_decision
    model = job.recipe.teacher.model
    require_reading(endpoint, model, tokens, spec, log, decision, spent=spent)


def read_answers(job: Job) -> dict[str, Any] | None:
    """Have the server read the training answers without targets; return the figures.

    None where it reads no given text. Answers with reasoning or tool calls are not given to it:
    what it would have gone on from is more than their text.
    """
    endpoint, tokens, log = job.recipe.teacher.endpoint, job.served_tokens, reading_log(job)
    spec = training_spec(job.recipe.collect, job.recipe.train.temperature)
    if endpoint is None or tokens is None or log is None or spec is None:
        return None
    rows = [row for row in job.exchanges("train") if row.response_token_ids is None]
    whole = [row for row in rows if _is_all(row) and job.learnt_whole(row)]
    texts = [
        GivenText(t.exchange.exchange_id, t.prompt_ids, t.response_ids)
        for t in job.texts(whole, job.parent)
    ]
    figures = score_by_endpoint(
        endpoint,
        job.recipe.teacher.model,
        texts,
        tokens,
        spec,
        job.store,
        log,
        job.scorer_decision,
        spent=spent_on(_answered(job)),
        progress=job.progress,
    )
    note = figures.sentence(job.recipe.cost.currency)
    if len(rows) > len(whole):
        note += f"; {len(rows) - len(whole)} with reasoning or tool calls were not read"
    job.progress.note(f"read: {note}")
    return figures.record() | {"note": note}


def _is_all(row: Exchange) -> bool:
    return not row.reasoning and not row.calls


def _answered(job: Job) -> list[Exchange]:
    """Return the answers that the server gave itself, which were charged for."""
    return [row for row in job.store.read() if row.teacher == job.scorer_identity]
