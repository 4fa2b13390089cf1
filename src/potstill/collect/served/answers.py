"""Prompts to exchanges by way of a server: asked many at once, stored as they come."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from potstill.collect.served.doubts import longest_response
from potstill.collect.served.figures import EndpointFigures, amount
from potstill.collect.served.paid import keep_paid, paid_for_nothing
from potstill.collect.served.pending import (
    Wanted,
    sampling_key,
    seed_of,
    spent_on,
    wanted_of,
)
from potstill.collect.served.rows import RowFacts, StoredAnswer, rows_of
from potstill.collect.served.unanswered import hopeless
from potstill.endpoint.budget import Tokens
from potstill.endpoint.client import Answered, EndpointClient, Failure, client_for, key_of
from potstill.endpoint.identity import Served
from potstill.endpoint.many import HOPELESS as _HOPELESS
from potstill.endpoint.many import Stopped, Taken, ask_many
from potstill.endpoint.open_files import in_flight_allowed
from potstill.endpoint.refusals import TOO_LONG
from potstill.endpoint.running import run_async
from potstill.endpoint.wire import ANSWERED_IN_VAIN, ChatAnswer, ChatRequest
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, Prompt
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.models.sampling import Sampling
from potstill.models.teacher_tokens import TeacherTokens
from potstill.progress import Progress, Step
from potstill.recipe import EndpointConfig
from potstill.terms.gate import TermsDecision
from potstill.work.stated import server_settings

# Prompts that are open for each request that may be in flight: those that wait to be tried again
# hold no slot, and others use it meanwhile.
_OPEN_PER_SLOT = 4
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
    decision.require(asks=True)
    settings = server_settings(config)
    identity, rows = settings.identity(model), store.read()
    own = sorted((r for r in rows if r.teacher == identity), key=lambda r: r.created_at)
    stored = {row.exchange_id for row in own}
    wanted = wanted_of(config, model, prompts, sampling, samples=samples, stored=stored)
    before_now = spent_on(own) + (spent or Tokens()) + paid_for_nothing(paid, identity)
    total = len({prompt.prompt_id for prompt in prompts}) * samples
    before = total - sum(len(w.samples) for w in wanted)
    key, limit = sampling_key(sampling, config), longest_response(sampling, config)
    facts = RowFacts(identity, key, decision.record(), tokens, spec, limit)
    key_of(settings, environ)  # a missing one is told of before anything else is
    _tell_of_others(rows, identity, progress)
    at_once = in_flight_allowed(settings, progress) if wanted else None
    with progress.step(label, total=total, unit="responses") as step:
        step.advance(before)
        client = client_for(
            settings, model, spent=before_now, environ=environ, max_in_flight=at_once
        )
        work = _Collection(client, sampling, facts, store, progress, step, currency)
        work.know(own)
        started = time.perf_counter()
        try:
            work.ask_all(wanted)
        finally:
            keep_paid(paid, identity, work.for_nothing)
        figures = work.figures(total, before, time.perf_counter() - started)
    for line in figures.sentences(label, currency):
        progress.note(line)
    return figures


class _Collection:
    """One call while it goes on: what `ask_many` asks, what came, what failed."""

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
        self._client, self._sampling, self._facts, self._store = client, sampling, facts, store
        self._progress, self._step, self._currency = progress, step, currency
        self._served = Served()
        self._models: Counter[str] = Counter()
        self._fingerprints: Counter[str] = Counter()
        self._failures: list[tuple[str, str]] = []
        self._unanswered = self._unusable_in_a_row = 0
        self._had_answers = False
        self._stopped: Stopped | None = None
        self._one_by_one = False
        self._used = self._lost = Tokens()
        self._stored = self._targets = 0
        self._had_targets = False
        self._without_targets: Counter[str] = Counter()
        self._latencies: list[float] = []
        self._charged: Counter[str] = Counter()
        self._at_limit = 0
        self._not_read: dict[str, int] = {}  # by prompt id, where it is known

    def know(self, own: Sequence[Exchange]) -> None:
        """Take in what this server's stored answers tell of it."""
        spec = self._facts.spec
        self._had_answers = bool(own)
        self._had_targets = spec is not None and bool(
            self._store.target_ids(self._facts.teacher, spec)
        )
        for row in own:
            self._served.observe(row.returned_model, row.system_fingerprint)

    def ask_all(self, wanted: Sequence[Wanted]) -> None:
        """Ask every prompt and store what comes; on an error too, what came is stored."""
        self._stopped = run_async(
            ask_many(
                self._client,
                wanted,
                self,
                progress=self._progress,
                open_items=_OPEN_PER_SLOT * self._client.max_in_flight,
                hopeless=_HOPELESS,
            )
        )

    @property
    def for_nothing(self) -> Tokens:
        """What was, or may have been, charged without a response to store."""
        return self._lost + self._client.uncertain

    async def ask(self, wanted: Wanted) -> Answered[ChatAnswer] | Failure:
        """Ask a prompt for every sample that is missing, or for one where they come singly."""
        prompt, samples = wanted.prompt, wanted.samples
        n, seed = 1 if self._one_by_one else len(samples), seed_of(samples[0][1])
        request = ChatRequest(prompt.messages, self._sampling, seed, n, prompt.tool_list)
        return await self._client.ask(request)

    def take(
        self, wanted: Wanted, outcome: Answered[ChatAnswer] | Failure
    ) -> Taken[Wanted, StoredAnswer]:
        """Return the rows of a response, and what is left to ask until every sample has come."""
        if isinstance(outcome, Failure):
            return self._no_answer(wanted.prompt, outcome.reason)
        rows, error = self._came(outcome, wanted)
        answer, left = outcome.answer, wanted.samples[len(outcome.answer.choices) :]
        if error is not None:
            return Taken(rows, error=error)
        if answer.unusable:
            return self._unusable(wanted.prompt, answer, rows)
        if left and outcome.n > 1:
            came = len(answer.choices)
            self._ask_singly(f"the server gives {came} of {outcome.n} samples at a time")
        elif outcome.n > 1 and outcome.basis == "estimated":
            self._ask_singly(f"the server does not count the tokens of all {outcome.n} samples")
        return Taken(rows, served=True, left=Wanted(wanted.prompt, left) if left else None)

    def store(self, rows: list[StoredAnswer]) -> None:
        """Store answers and their targets in one transaction."""
        targets = [row.targets for row in rows if row.targets is not None]
        self._store.append([row.exchange for row in rows], targets)

    def stored(self, rows: list[StoredAnswer]) -> None:
        """Count rows that are stored now, and show where the call stands."""
        self._stored += len(rows)
        money = self._client.budget.prices.of(self._used)
        self._step.advance(
            len(rows),
            in_flight=self._client.slots.in_flight,
            failed=len(self._failures),
            **({} if money is None else {"cost": amount(money, self._currency)}),
        )

    def _ask_singly(self, why: str) -> None:
        if not self._one_by_one:
            self._one_by_one = True
            self._progress.note(f"{why}; they are asked for one by one")

    def _came(
        self, asked: Answered[ChatAnswer], wanted: Wanted
    ) -> tuple[list[StoredAnswer], PotstillError | None]:
        """Count a response; return its rows, and why no other will have what was asked for."""
        answer = asked.answer
        rows = rows_of(asked, wanted.prompt, wanted.samples, self._facts)
        self._targets += len(rows.targets)
        self._without_targets.update(rows.without_targets)
        self._at_limit += rows.at_limit
        if rows.not_read is not None:
            self._not_read[wanted.prompt.prompt_id] = rows.not_read
        self._charged[asked.basis] += 1
        change = self._served.observe(answer.model, answer.fingerprint)
        if change is not None:
            self._progress.note(change)
        self._models.update([answer.model] if answer.model else [])
        self._fingerprints.update([answer.fingerprint] if answer.fingerprint else [])
        self._used += asked.used
        self._latencies.append(asked.latency_s)
        if answer.choices:
            self._unusable_in_a_row, self._had_answers = 0, True
        else:
            self._lost += asked.used
        return rows.stored, self._none_has_targets()

    def _none_has_targets(self) -> PotstillError | None:
        reasons = self._without_targets
        later = self._client.settings.scores_text  # what has none now is read afterwards
        if self._targets or self._had_targets or later or reasons.total() < _NO_TARGETS:
            return None
        return PotstillError(
            f"none of the first {reasons.total()} responses has the log-probabilities that "
            f"were asked for ({reasons.most_common(1)[0][0]}); take a server that gives them "
            "and a student.model with its tokenizer, or set collect.targets to none, "
            "teacher.endpoint.top_logprobs to 0 and train.cross_entropy to 1"
        )

    def _unusable(
        self, prompt: Prompt, answer: ChatAnswer, rows: list[StoredAnswer]
    ) -> Taken[Wanted, StoredAnswer]:
        """Count an answer that came, and was charged for, to no use."""
        reason = answer.unusable[0]
        self._failures.append((prompt.prompt_id, reason))
        self._unusable_in_a_row += reason not in ANSWERED_IN_VAIN
        why = hopeless(self._unusable_in_a_row, reason, some_usable=self._had_answers)
        error = None if why is None else PotstillError(why)
        return Taken(rows, served=bool(answer.choices), error=error)

    def _no_answer(self, prompt: Prompt, reason: str) -> Taken[Wanted, StoredAnswer]:
        """Count a prompt without an answer; one that is too long is no fault of the server's."""
        self._failures.append((prompt.prompt_id, reason))
        if reason == TOO_LONG:
            return Taken()
        self._unanswered += 1
        if self._client.answers or self._unanswered < _HOPELESS:
            return Taken(served=False)
        return Taken(
            error=PotstillError(
                f"the server answered none of the first {len(self._failures)} prompts "
                f"({reason}); look after it, or check teacher.endpoint.extra and url"
            )
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
