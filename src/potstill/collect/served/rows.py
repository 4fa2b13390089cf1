"""Answers of a server as rows of the store."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from potstill.collect.served.distribution import NoTargets
from potstill.collect.served.doubts import ends_at_limit, tokens_not_read
from potstill.collect.served.targets import likeliest_tokens
from potstill.endpoint.client import Answered
from potstill.endpoint.wire import ChatAnswer, ChatChoice, shares
from potstill.exchanges.exchange import Exchange, Prompt
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.targets import ExchangeTargets
from potstill.models.teacher_tokens import TeacherTokens


@dataclass(frozen=True)
class RowFacts:
    """What all rows of one call have in common; `limit` is how many tokens a response may have.

    With `tokens` and `spec` (of `top-k`) rows get ids and targets, where those are certain.
    """

    teacher: str
    sampling: dict[str, Any]
    terms_decision: str
    tokens: TeacherTokens | None = None
    spec: TargetSpec | None = None
    limit: int | None = None


@dataclass(frozen=True)
class StoredAnswer:
    """One row for the store, with its targets where it has any."""

    exchange: Exchange
    targets: ExchangeTargets | None


@dataclass(frozen=True)
class AnswerRows:
    """Rows for the store; `without_targets` says of each that lacks wanted targets why.

    `at_limit` of them are called whole and are as long as they may be. `not_read` is how many of
    the prompt's tokens the server did not read, None where that is not known.
    """

    exchanges: list[Exchange]
    targets: list[ExchangeTargets]
    without_targets: list[str]
    at_limit: int = 0
    not_read: int | None = None

    @property
    def stored(self) -> list[StoredAnswer]:
        """Each row with its targets."""
        of_row = {targets.exchange_id: targets for targets in self.targets}
        return [StoredAnswer(row, of_row.get(row.exchange_id)) for row in self.exchanges]


def rows_of(
    asked: Answered[ChatAnswer], prompt: Prompt, samples: Sequence[tuple[int, str]], facts: RowFacts
) -> AnswerRows:
    """Return a row for each choice, in the order of the samples (index, exchange id) given."""
    answer = asked.answer
    known_ids = _prompt_ids(prompt, facts)
    not_read = tokens_not_read(answer, known_ids)
    ends = facts.tokens.eos_ids if facts.tokens else ()
    at_limit = sum(ends_at_limit(answer, c, facts.limit, ends) for c in answer.choices)
    rows = AnswerRows([], [], [], at_limit, not_read)
    # Where the server counts as many its template is ours.
    same = known_ids is not None and len(known_ids) == answer.usage.get("prompt_tokens")
    prompt_ids = known_ids if same else None
    usages = _usages(asked)
    for (index, exchange_id), choice, usage in zip(samples, answer.choices, usages, strict=False):
        response_ids = None
        if facts.tokens is not None and facts.spec is not None and facts.spec.count is not None:
            try:
                response_ids, values = likeliest_tokens(choice, facts.tokens, facts.spec.count)
                rows.targets.append(ExchangeTargets(exchange_id, facts.teacher, facts.spec, values))
            except NoTargets as error:
                rows.without_targets.append(str(error))
        row = _exchange(asked, prompt, choice, facts)
        rows.exchanges.append(
            replace(
                row,
                exchange_id=exchange_id,
                sample_index=index,
                usage=usage,
                prompt_token_ids=None if response_ids is None else prompt_ids,
                response_token_ids=response_ids,
                tokenizer=facts.tokens.tokenizer_id if facts.tokens and response_ids else None,
            )
        )
    return rows


def _exchange(
    asked: Answered[ChatAnswer], prompt: Prompt, choice: ChatChoice, facts: RowFacts
) -> Exchange:
    """Return what a row holds beside its ids and its share of the tokens."""
    return Exchange(
        exchange_id="",
        prompt_id=prompt.prompt_id,
        split=prompt.split,
        messages=prompt.messages,
        tools=prompt.tools,
        response=choice.text,
        prompt_token_ids=None,
        response_token_ids=None,
        tokenizer=None,
        finish_reason=choice.finish,
        teacher=facts.teacher,
        sampling=facts.sampling,
        sample_index=0,
        terms_decision=facts.terms_decision,
        source=prompt.source,
        created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        latency_s=round(asked.latency_s, 4),
        reasoning=choice.reasoning,
        tool_calls=choice.tool_calls,
        engine="endpoint",
        dtype="unknown",
        device="unknown",
        returned_model=asked.answer.model,
        system_fingerprint=asked.answer.fingerprint,
    )


def _prompt_ids(prompt: Prompt, facts: RowFacts) -> tuple[int, ...] | None:
    """Return the prompt's ids by the tokenizer's own template, where they are known."""
    tokens = facts.tokens
    return None if tokens is None else tokens.prompt_ids(prompt.messages, prompt.tool_list)


def _usages(asked: Answered[ChatAnswer]) -> list[dict[str, int]]:
    """Return each choice's part of the tokens, so that the rows' sum is what was charged.

    Responses share theirs by length; the prompt, which was read once, counts for the first. What
    the server did not say stays unsaid.
    """
    usage, choices = dict(asked.answer.usage), asked.answer.choices
    for name, charged in (
        ("prompt_tokens", asked.used.prompt),
        ("completion_tokens", asked.used.response),
    ):
        if usage.get(name) == 0 and charged:
            del usage[name]  # no figure, whatever it is called
        elif name in usage and asked.basis != "unknown":
            usage[name] = max(usage[name], charged)
    if "total_tokens" in usage and not {"prompt_tokens", "completion_tokens"} <= usage.keys():
        del usage["total_tokens"]
    elif "total_tokens" in usage:
        usage["total_tokens"] = usage["prompt_tokens"] + usage["completion_tokens"]
    if len(choices) <= 1:
        return [usage for _ in choices]
    told: list[dict[str, int]] = [{} for _ in choices]
    if "completion_tokens" in usage:
        parts = shares(usage["completion_tokens"], _lengths(choices))
        for one, part in zip(told, parts, strict=True):
            one["completion_tokens"] = part
    if "prompt_tokens" in usage:
        for index, one in enumerate(told):
            one["prompt_tokens"] = 0 if index else usage["prompt_tokens"]
    if "total_tokens" in usage:
        for one in told:
            one["total_tokens"] = one["prompt_tokens"] + one["completion_tokens"]
    return told


def _lengths(choices: Sequence[ChatChoice]) -> list[int]:
    """Return what tells how much of a response is each choice's: tokens, else characters."""
    if all(choice.scores for choice in choices):
        return [len(choice.scores or ()) for choice in choices]
    said = ((choice.text, choice.reasoning, choice.tool_calls) for choice in choices)
    return [sum(len(part or "") for part in parts) for parts in said]
