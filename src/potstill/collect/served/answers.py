"""Prompts to exchanges by way of a server: asked many at once, stored as they come."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from potstill.collect.served.doubts import longest_response
from potstill.collect.served.figures import EndpointFigures, Stopped, amount
from potstill.collect.served.open_files import in_flight_allowed
from potstill.collect.served.paid import keep_paid, paid_for_nothing
from potstill.collect.served.pending import (
    Wanted,
    identity_of_teacher,
    sampling_key,
    seed_of,
    spent_on,
    wanted_of,
)
from potstill.collect.served.rows import RowFacts, RowWriter, rows_of
from potstill.collect.served.unanswered import hopeless
from potstill.endpoint.budget import Budget, Prices, Tokens
from potstill.endpoint.client import Asked, EndpointClient, key_of
from potstill.endpoint.identity import Served
from potstill.endpoint.refusals import TOO_LONG
from potstill.endpoint.running import run_async
from potstill.endpoint.wire import ANSWERED_IN_VAIN, Answer, ChatRequest
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, Prompt
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.models.sampling import Sampling
from potstill.models.teacher_tokens import TeacherTokens
from potstill.progress import Progress, Step
from potstill.recipe import EndpointConfig
from potstill.terms.gate import TermsDecision

# Prompts that are open for each request that may be in flight: those that wait to be tried again
# hold no slot, and others use it meanwhile.
_OPEN_PER_SLOT = 4
# So many failed prompts in a row mean that the trouble is not the prompts'.
_HOPELESS = 50
# So many responses without targets, and none with, mean that none will have any.
_NO_TARGETS = 32


def collect_from_endpoint(
    config: EndpointConfig,
    model: str,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    store: ExchangeStore,
    decision: TermsDecision,
    *,
    samples: int = 1,
    tokens: TeacherTokens | None = None,
    spec: TargetSpec | None = None,
    spent: Tokens | None = None,
    paid: Path | None = None,
    progress: Progress,
    currency: str = "USD",
    label: str = "collect",
    environ: Mapping[str, str] | None = None,
) -> EndpointFigures:
    """Ask a server for every response that is not stored yet; durable as they come.

    `decision` is the terms gate's; it raises where the teacher's outputs may not be used. What
    stored responses of this teacher took, and what else was `spent` on it, counts towards the
    budget; so does what calls took without a response to store, which is kept in the file `paid`.
    With the teacher's `tokens` and a `spec` of top-k, the server's log-probabilities are stored as
    targets, in one transaction with their responses. Raises PotstillError where no prompt could
    fare better: no server, a wrong key or model, a full disk, targets that no response has,
    answers none of which can be used.
    """
    decision.require()
    key = key_of(config, os.environ if environ is None else environ)
    identity, rows = identity_of_teacher(config, model), store.read()
    _tell_of_others(rows, identity, progress)
    own = sorted((r for r in rows if r.teacher == identity), key=lambda r: r.created_at)
    stored = {row.exchange_id for row in own}
    wanted = wanted_of(config, model, prompts, sampling, samples=samples, stored=stored)
    prices = Prices(config.price_in, config.price_out)
    before_now = spent_on(own) + (spent or Tokens()) + paid_for_nothing(paid, identity)
    budget = Budget(prices, money=config.budget, tokens=config.budget_tokens, spent=before_now)
    total = len({prompt.prompt_id for prompt in prompts}) * samples
    before = total - sum(len(w.samples) for w in wanted)
    key_of_sampling = sampling_key(sampling, config)
    limit = longest_response(sampling, config)
    facts = RowFacts(identity, key_of_sampling, decision.record(), tokens, spec, limit)
    at_once = in_flight_allowed(config, progress) if wanted else None
    with progress.step(label, total=total, unit="responses") as step:
        step.advance(before)
        client = EndpointClient(config, model, key=key, budget=budget, max_in_flight=at_once)
        work = _Collection(client, sampling, facts, store, progress, step, currency)
        if spec is not None:
            work.had_targets = bool(store.target_ids(identity, spec))
        for row in own:
            work.served.observe(row.returned_model, row.system_fingerprint)
        work.had_answers = bool(own)
        started = time.perf_counter()
        try:
            if wanted:
                run_async(work.ask_all(wanted))
        finally:
            keep_paid(paid, identity, work.for_nothing)
        figures = work.figures(total, before, time.perf_counter() - started)
    for line in figures.sentences(label, currency):
        progress.note(line)
    return figures


class _Collection:
    """One call while it goes on: what came, what failed, whether to stop."""

    def __init__(
        self,
        client: EndpointClient,
        sampling: Sampling,
        facts: RowFacts,
        store: ExchangeStore,
        progress: Progress,
        step: Step,
        currency: str,
    ) -> None:
        self._client, self._sampling, self._facts = client, sampling, facts
        self._progress, self._step, self._currency = progress, step, currency
        self._writer = RowWriter(store, self._on_disk, self._give_up)
        self._error: Exception | None = None
        self.served = Served()
        self._models: Counter[str] = Counter()
        self._fingerprints: Counter[str] = Counter()
        self._failures: list[tuple[str, str]] = []
        self._failed_in_a_row = self._unusable_in_a_row = 0
        self.had_answers = False
        self._stopped: Stopped | None = None
        self._one_by_one = False
        self._used = self._lost = Tokens()
        self._stored = self._targets = 0
        self.had_targets = False
        self._without_targets: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._charged: Counter[str] = Counter()
        self._at_limit = 0
        self._not_read: dict[str, int] = {}  # by prompt id, where it is known

    async def ask_all(self, wanted: Sequence[Wanted]) -> None:
        """Ask every prompt and store what comes; on an error too, what came is stored.

        An error ends the asking once the others that are in flight have come.
        """
        left = iter(wanted)

        async def work() -> None:
            for one in left:
                if self._stopped or self._error:
                    return
                try:
                    await self._ask(one)
                except Exception as error:
                    self._give_up(error)

        try:
            async with self._client:
                await self._client.check()
                open_prompts = min(len(wanted), _OPEN_PER_SLOT * self._client.max_in_flight)
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self._writer.run())
                    try:
                        await asyncio.wait([tasks.create_task(work()) for _ in range(open_prompts)])
                    finally:
                        self._writer.finish()
        finally:
            # No connection is open any more: what found no room for another file has it now.
            self._writer.flush()
        if self._error is not None:
            raise self._error

    @property
    def for_nothing(self) -> Tokens:
        """What was, or may have been, charged without a response to store."""
        return self._lost + self._client.uncertain

    def _give_up(self, error: Exception) -> None:
        """Ask nothing more after an error; what others have in flight is paid for, and waited
        for."""
        if self._error is not None:
            return
        self._error = error
        self._client.stop()
        if self._client.slots.in_flight:
            self._progress.note(
                f"stopping: {self._client.slots.in_flight} requests in flight are waited for"
            )

    async def _ask(self, wanted: Wanted) -> None:
        """Ask one prompt until every sample that is missing has come, or one cannot."""
        prompt, left = wanted.prompt, list(wanted.samples)
        while left and not (self._stopped or self._error):
            n = 1 if self._one_by_one else len(left)
            seed, tools = seed_of(left[0][1]), prompt.tool_list
            request = ChatRequest(prompt.messages, self._sampling, seed, n, tools)
            outcome = await self._client.ask(request)
            if not isinstance(outcome, Asked):
                if self._error is not None:
                    return
                if outcome.kind == "budget":
                    self._stopped = self._stopped or "budget"
                else:
                    self._fail(prompt, outcome.reason)
                return
            self._came(outcome, prompt, left)
            left = left[len(outcome.answer.choices) :]
            if outcome.answer.unusable:
                self._fail_unusable(prompt, outcome.answer.unusable[0])
                return
            if left and n > 1:
                came = len(outcome.answer.choices)
                self._ask_singly(f"the server gives {came} of {n} samples at a time")
            elif n > 1 and outcome.basis == "estimated":
                self._ask_singly(f"the server does not count the tokens of all {n} samples")

    def _ask_singly(self, why: str) -> None:
        if not self._one_by_one:
            self._one_by_one = True
            self._progress.note(f"{why}; they are asked for one by one")

    def _came(
        self, asked: Asked[Answer], prompt: Prompt, samples: Sequence[tuple[int, str]]
    ) -> None:
        answer = asked.answer
        rows = rows_of(asked, prompt, samples, self._facts)
        self._writer.put(rows.exchanges, rows.targets)
        self._targets += len(rows.targets)
        self._without_targets.update(rows.without_targets)
        self._at_limit += rows.at_limit
        if rows.not_read is not None:
            self._not_read[prompt.prompt_id] = rows.not_read
        self._charged[asked.basis] += 1
        change = self.served.observe(answer.model, answer.fingerprint)
        if change is not None:
            self._progress.note(change)
        self._models.update([answer.model] if answer.model else [])
        self._fingerprints.update([answer.fingerprint] if answer.fingerprint else [])
        self._used += asked.used
        if not answer.choices:
            self._lost += asked.used
        self._latencies.append(asked.latency_s)
        if answer.choices:
            self._failed_in_a_row = self._unusable_in_a_row = 0
            self.had_answers = True
        reasons = self._without_targets
        later = self._client.config.scores_text  # what has none now is read afterwards
        none = not (self._targets or self.had_targets or later)
        if none and reasons.total() >= _NO_TARGETS:
            raise PotstillError(
                f"none of the first {reasons.total()} responses has the log-probabilities that "
                f"were asked for ({reasons.most_common(1)[0][0]}); take a server that gives them "
                "and a student.model with its tokenizer, or set collect.targets to none, "
                "teacher.endpoint.top_logprobs to 0 and train.cross_entropy to 1"
            )

    def _fail_unusable(self, prompt: Prompt, reason: str) -> None:
        """Count an answer that came, and was charged for, to no use."""
        self._fail(prompt, reason)
        self._unusable_in_a_row += reason not in ANSWERED_IN_VAIN
        why = hopeless(self._unusable_in_a_row, reason, some_usable=self.had_answers)
        if why is not None:
            raise PotstillError(why)

    def _fail(self, prompt: Prompt, reason: str) -> None:
        self._failures.append((prompt.prompt_id, reason))
        if reason == TOO_LONG:
            return
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= _HOPELESS:
            if not self._client.answers:
                raise PotstillError(
                    f"the server answered none of the first {len(self._failures)} prompts "
                    f"({reason}); look after it, or check teacher.endpoint.extra and url"
                )
            self._stopped = "failures"

    def _on_disk(self, rows: list[Exchange]) -> None:
        """Count rows that are stored now, and show where the call stands."""
        self._stored += len(rows)
        money = self._client.budget.prices.of(self._used)
        self._step.advance(
            len(rows),
            in_flight=self._client.slots.in_flight,
            failed=len(self._failures),
            **({} if money is None else {"cost": amount(money, self._currency)}),
        )

    def figures(self, wanted: int, before: int, seconds: float) -> EndpointFigures:
        """Return what the call did."""
        client, prices = self._client, self._client.budget.prices
        return EndpointFigures(
            wanted=wanted,
            before=before,
            stored=self._stored,
            failures=tuple(self._failures),
            stopped=self._stopped,
            requests=client.requests,
            retries=client.retries,
            prompt_tokens=self._used.prompt,
            response_tokens=self._used.response,
            money=prices.of(self._used),
            uncertain_tokens=client.uncertain.total,
            uncertain_money=prices.of(client.uncertain),
            seconds=seconds,
            most_in_flight=client.slots.most_in_flight,
            median_latency_s=median(self._latencies) if self._latencies else None,
            returned_models=dict(self._models),
            fingerprints=dict(self._fingerprints),
            targets=self._targets,
            without_targets=dict(self._without_targets.most_common()),
            charged=dict(self._charged),
            at_limit=self._at_limit,
            compared=len(self._not_read),
            cut_prompts=sum(count > 0 for count in self._not_read.values()),
            most_cut=max(self._not_read.values(), default=0),
        )


def _tell_of_others(rows: Sequence[Exchange], identity: str, progress: Progress) -> None:
    """Say where the store holds another teacher's responses: those stay, and count for nothing."""
    others = Counter(row.teacher for row in rows if row.teacher != identity)
    for teacher, count in others.items():
        progress.note(
            f"the store holds {count} responses of another teacher, {teacher}: they stay, and "
            f"{identity} is asked all the same"
        )
