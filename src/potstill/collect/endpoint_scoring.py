"""Targets for text that is stored already: a server reads it and tells its likeliest tokens."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from potstill.collect.endpoint_figures import amount
from potstill.collect.endpoint_targets import NoTargets, TeacherTokens, given_tokens
from potstill.errors import PotstillError
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import ExchangeTargets
from potstill.models.endpoint.budget import Budget, Prices, Tokens
from potstill.models.endpoint.client import Asked, EndpointClient, Failure, key_of
from potstill.models.endpoint.identity import endpoint_identity
from potstill.models.endpoint.running import run_async
from potstill.progress import Progress, Step
from potstill.recipe import EndpointConfig
from potstill.terms.gate import TermsDecision

# Targets are stored in groups: one transaction costs two disk syncs.
_COMMIT_ROWS = 32
# So many texts without targets, and none with, mean that none will have any.
_HOPELESS = 16


@dataclass(frozen=True)
class GivenText:
    """One stored exchange as ids of the server's tokens."""

    exchange_id: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]


@dataclass(frozen=True)
class ScoringFigures:
    """What one call did: texts read, those with targets, and why others have none.

    `money` is None without prices. Tokens and money are this call's.
    """

    texts: int
    scored: int
    without_targets: dict[str, int]
    prompt_tokens: int
    response_tokens: int
    money: float | None
    seconds: float

    def record(self) -> dict[str, Any]:
        """Return the figures as plain JSON values."""
        return asdict(self)


def spent_on_scoring(texts: Sequence[GivenText]) -> Tokens:
    """Return the tokens that reading these texts was charged with: each once, and one written."""
    read = sum(len(text.prompt_ids) + len(text.response_ids) for text in texts)
    return Tokens(read, len(texts))


def score_by_endpoint(
    config: EndpointConfig,
    model: str,
    texts: Sequence[GivenText],
    tokens: TeacherTokens,
    spec: TargetSpec,
    store: ExchangeStore,
    decision: TermsDecision,
    *,
    spent: Tokens | None = None,
    progress: Progress,
    environ: Mapping[str, str] | None = None,
) -> ScoringFigures:
    """Have a server read texts, and store its likeliest tokens (`spec`, of top-k) as targets.

    Durable as they come, so that the same call goes on. `decision` is the terms gate's about the
    server's model; it raises where the outputs may not be used. `spent` counts towards the budget.
    Raises PotstillError where the budget is used up, and where no text could fare better: a
    server that tells nothing of given text, another tokenizer, a wrong key or model.
    """
    decision.require()
    key = key_of(config, os.environ if environ is None else environ)
    prices = Prices(config.price_in, config.price_out)
    budget = Budget(prices, money=config.budget, tokens=config.budget_tokens, spent=spent)
    started = time.perf_counter()
    with progress.step("score", total=len(texts), unit="texts") as step:
        client = EndpointClient(config, model, key=key, budget=budget)
        identity = endpoint_identity(config.provider, model, config.revision)
        work = _Scoring(client, identity, tokens, spec, store, step)
        if texts:
            run_async(work.score_all(texts))
    money = prices.of(work.used)
    return ScoringFigures(
        texts=len(texts),
        scored=work.scored,
        without_targets=dict(work.without.most_common()),
        prompt_tokens=work.used.prompt,
        response_tokens=work.used.response,
        money=money,
        seconds=time.perf_counter() - started,
    )


def scoring_note(figures: ScoringFigures, currency: str) -> str:
    """Return what a person wants to know of it at the end, in a line."""
    cost = "" if figures.money is None else f", {amount(figures.money, currency)}"
    said = (
        f"score: the server read {figures.scored} of {figures.texts} texts, "
        f"{figures.prompt_tokens} tokens{cost}"
    )
    if not figures.without_targets:
        return said
    reasons = ", ".join(f"{why} ({count})" for why, count in figures.without_targets.items())
    return f"{said}; the others have no targets: {reasons}"


class _Scoring:
    """One call while it goes on."""

    def __init__(
        self,
        client: EndpointClient,
        identity: str,
        tokens: TeacherTokens,
        spec: TargetSpec,
        store: ExchangeStore,
        step: Step,
    ) -> None:
        self._client, self._identity, self._tokens = client, identity, tokens
        self._spec, self._store, self._step = spec, store, step
        self._ready: list[ExchangeTargets] = []
        self.scored = 0
        self.without: Counter[str] = Counter()
        self.used = Tokens()
        self._over_budget = False

    async def score_all(self, texts: Sequence[GivenText]) -> None:
        """Have every text read; on an error too, what came is stored."""
        left = iter(texts)

        async def work() -> None:
            for text in left:
                if self._over_budget:
                    return
                await self._score(text)

        try:
            async with self._client:
                await self._client.check()
                workers = min(len(texts), self._client.config.max_in_flight)
                async with asyncio.TaskGroup() as tasks:
                    for _ in range(workers):
                        tasks.create_task(work())
        finally:
            self._flush()
        if self._over_budget:
            # Only now: what was in flight is paid for, and stored.
            raise PotstillError(
                "the budget is used up before all text was read by the server; raise "
                "teacher.endpoint.budget or budget_tokens and run the same command again to go on"
            )

    async def _score(self, text: GivenText) -> None:
        assert self._spec.count is not None
        ids = (*text.prompt_ids, *text.response_ids)
        outcome = await self._client.score(ids, self._spec.count)
        if not isinstance(outcome, Asked):
            self._failed(outcome)
            return
        self.used += outcome.used
        scores = outcome.answer.scores
        if scores is None:
            self._lacks("the server tells nothing of given text")
            return
        # The first id has no entry: what precedes token t is told at t - 1 of the rest.
        of_response = scores[len(text.prompt_ids) - 1 :]
        try:
            values = given_tokens(of_response, self._tokens, self._spec.count)
        except NoTargets as error:
            self._lacks(str(error))
            return
        self._ready.append(ExchangeTargets(text.exchange_id, self._identity, self._spec, values))
        self.scored += 1
        self._step.advance(1, in_flight=self._client.slots.in_flight)
        if len(self._ready) >= _COMMIT_ROWS:
            self._flush()

    def _failed(self, outcome: Failure) -> None:
        if outcome.kind == "budget":
            self._over_budget = True
        else:
            self._lacks(outcome.reason)

    def _lacks(self, reason: str) -> None:
        """Count a text that gets no targets; raises PotstillError once none seems to get any."""
        self.without[reason] += 1
        if self.scored or self.without.total() < _HOPELESS:
            return
        raise PotstillError(
            f"the server gave no log-probabilities of any of the first {_HOPELESS} texts that it "
            f"was to read ({self.without.most_common(1)[0][0]}); take one that has vLLM's "
            "prompt_logprobs, for as many as teacher.endpoint.top_logprobs, and a student.model "
            "with its tokenizer, or take teacher.endpoint.scores_text out"
        )

    def _flush(self) -> None:
        ready, self._ready = self._ready, []
        if ready:
            self._store.append_targets(ready)
