"""Answers of a server as rows of the store, and the one writer that stores them in groups."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from potstill.collect.served.distribution import NoTargets
from potstill.collect.served.doubts import ends_at_limit, tokens_not_read
from potstill.collect.served.targets import likeliest_tokens
from potstill.endpoint.client import Asked
from potstill.endpoint.wire import Answer, Choice, shares
from potstill.exchanges.exchange import Exchange, Prompt
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import ExchangeTargets
from potstill.models.teacher_tokens import TeacherTokens

# A transaction costs two disk syncs: rows are stored when so many wait, or after so long.
_GROUP_ROWS = 32
_GROUP_S = 0.2


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
class Rows:
    """Rows for the store; `without_targets` says of each that lacks wanted targets why.

    `at_limit` of them are called whole and are as long as they may be. `not_read` is how many of
    the prompt's tokens the server did not read, None where that is not known.
    """

    exchanges: list[Exchange]
    targets: list[ExchangeTargets]
    without_targets: list[str]
    at_limit: int = 0
    not_read: int | None = None


def rows_of(
    asked: Asked[Answer], prompt: Prompt, samples: Sequence[tuple[int, str]], facts: RowFacts
) -> Rows:
    """Return a row for each choice, in the order of the samples (index, exchange id) given."""
    answer = asked.answer
    known_ids = _prompt_ids(prompt, facts)
    not_read = tokens_not_read(answer, known_ids)
    ends = facts.tokens.eos_ids if facts.tokens else ()
    at_limit = sum(ends_at_limit(answer, c, facts.limit, ends) for c in answer.choices)
    rows = Rows([], [], [], at_limit, not_read)
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


def _exchange(asked: Asked[Answer], prompt: Prompt, choice: Choice, facts: RowFacts) -> Exchange:
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


def _usages(asked: Asked[Answer]) -> list[dict[str, int]]:
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


def _lengths(choices: Sequence[Choice]) -> list[int]:
    """Return what tells how much of a response is each choice's: tokens, else characters."""
    if all(choice.scores for choice in choices):
        return [len(choice.scores or ()) for choice in choices]
    said = ((choice.text, choice.reasoning, choice.tool_calls) for choice in choices)
    return [sum(len(part or "") for part in parts) for parts in said]


class RowWriter:
    """Stores rows in small groups while others are asked for.

    `stored` is called with the rows once they are on the disk: only then do they count. What an
    error keeps from the disk stays here, for `flush`; `failed` is told of it.
    """

    def __init__(
        self,
        store: ExchangeStore,
        stored: Callable[[list[Exchange]], None],
        failed: Callable[[Exception], None] | None = None,
    ) -> None:
        self._store, self._stored, self._failed = store, stored, failed
        self._rows: list[Exchange] = []
        self._targets: list[ExchangeTargets] = []
        self._full = asyncio.Event()
        self._last = False

    def put(self, rows: Sequence[Exchange], targets: Sequence[ExchangeTargets] = ()) -> None:
        """Hand rows over; they are stored within a moment."""
        self._rows += rows
        self._targets += targets
        if len(self._rows) >= _GROUP_ROWS:
            self._full.set()

    def finish(self) -> None:
        """Let `run` end once everything is stored."""
        self._last = True
        self._full.set()

    async def run(self) -> None:
        """Store what is handed over until `finish`, or until an error.

        That is `failed`'s, where there is such, else raised: a PotstillError for a full disk.
        """
        try:
            while not (self._last and not self._rows):
                # Not `wait_for`: before Python 3.12 it can swallow a cancellation.
                with suppress(TimeoutError):
                    async with asyncio.timeout(_GROUP_S):
                        await self._full.wait()
                self._full.clear()
                rows, targets = list(self._rows), list(self._targets)
                if rows:
                    await asyncio.to_thread(self._store.append, rows, targets)
                    self._done(rows, targets)
        except asyncio.CancelledError:
            # Also what the thread may be storing at this moment: a row is stored once.
            self.flush()
            raise
        except Exception as error:
            if self._failed is None:
                raise
            self._failed(error)

    def flush(self) -> None:
        """Store what is left, whatever ended `run`; raises PotstillError for a full disk."""
        rows, targets = list(self._rows), list(self._targets)
        if rows:
            self._store.append(rows, targets)
            self._done(rows, targets)

    def _done(self, rows: list[Exchange], targets: list[ExchangeTargets]) -> None:
        del self._rows[: len(rows)], self._targets[: len(targets)]
        if rows:
            self._stored(rows)
