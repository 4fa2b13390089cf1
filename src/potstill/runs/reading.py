"""Read: a server reads the answers that were kept and of which there are no targets."""

from __future__ import annotations

from typing import Any

from potstill.collect.served.pending import spent_on
from potstill.collect.served.reading import GivenText, require_reading, score_by_endpoint
from potstill.collect.served.reading_log import ReadingLog
from potstill.endpoint.budget import Tokens
from potstill.exchanges.exchange import Exchange
from potstill.runs.parts import Parts
from potstill.work.target_specs import training_spec


def reading_log(parts: Parts) -> ReadingLog | None:
    """Return what the recipe's server was given to read so far; None where it reads nothing."""
    endpoint, tokens = parts.recipe.teacher.endpoint, parts.opened.served_tokens
    if endpoint is None or not endpoint.scores_text or tokens is None:
        return None
    return ReadingLog(parts.run.readings_path, tokens.tokenizer_id)


def spent_on_reading(parts: Parts) -> Tokens:
    """Return what reading was charged with so far."""
    log = reading_log(parts)
    return Tokens() if log is None else log.spent


def check_reading(parts: Parts) -> None:
    """Raise PotstillError where the server turns out to read nothing; asked once in a run."""
    endpoint, tokens, log = (
        parts.recipe.teacher.endpoint,
        parts.opened.served_tokens,
        reading_log(parts),
    )
    spec = training_spec(parts.recipe.collect, parts.recipe.train.temperature)
    if endpoint is None or tokens is None or log is None or spec is None or log.reads:
        return
    spent, decision = spent_on(_answered(parts)), parts.scorer_decision
    model = parts.recipe.teacher.model
    require_reading(endpoint, model, tokens, spec, log, decision, spent=spent)


def read_answers(parts: Parts) -> dict[str, Any] | None:
    """Have the server read the training answers without targets; return the figures.

    None where it reads no given text. Answers with reasoning or tool calls are not given to it:
    what it would have gone on from is more than their text.
    """
    endpoint, tokens, log = (
        parts.recipe.teacher.endpoint,
        parts.opened.served_tokens,
        reading_log(parts),
    )
    spec = training_spec(parts.recipe.collect, parts.recipe.train.temperature)
    if endpoint is None or tokens is None or log is None or spec is None:
        return None
    rows = [row for row in parts.corpus.exchanges("train") if row.response_token_ids is None]
    whole = [row for row in rows if _is_all(row) and parts.corpus.learnt_whole(row)]
    texts = [
        GivenText(t.exchange.exchange_id, t.prompt_ids, t.response_ids)
        for t in parts.corpus.texts(whole, parts.opened.parent)
    ]
    figures = score_by_endpoint(
        endpoint,
        parts.recipe.teacher.model,
        texts,
        tokens,
        spec,
        parts.store,
        log,
        parts.scorer_decision,
        spent=spent_on(_answered(parts)),
        progress=parts.progress,
    )
    note = figures.sentence(parts.recipe.cost.currency)
    if len(rows) > len(whole):
        note += f"; {len(rows) - len(whole)} with reasoning or tool calls were not read"
    parts.progress.note(f"read: {note}")
    return figures.record() | {"note": note}


def _is_all(row: Exchange) -> bool:
    return not row.reasoning and not row.calls


def _answered(parts: Parts) -> list[Exchange]:
    """Return the answers that the server gave itself, which were charged for."""
    return [row for row in parts.store.read() if row.teacher == parts.corpus.scorer_identity]
