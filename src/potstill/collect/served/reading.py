"""Targets for text that is stored already: a server reads it and tells its likeliest tokens."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from potstill.collect.served.distribution import NoTargets
from potstill.collect.served.figures import amount
from potstill.collect.served.reading_log import PROBE, Reading, ReadingLog
from potstill.collect.served.targets import given_tokens
from potstill.endpoint.budget import Tokens
from potstill.endpoint.client import Answered, EndpointClient, Failure, client_for
from potstill.endpoint.identity import Served
from potstill.endpoint.many import Taken, ask_many
from potstill.endpoint.open_files import in_flight_allowed
from potstill.endpoint.refusals import TOO_LONG
from potstill.endpoint.running import run_async
from potstill.endpoint.scoring import ScoredText
from potstill.endpoint.wire import ScoredToken
from potstill.errors import PotstillError
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import ExchangeTargets, LikeliestTokens
from potstill.models.teacher_tokens import TeacherTokens
from potstill.progress import Progress, Step
from potstill.recipe import EndpointConfig
from potstill.terms.gate import TermsDecision
from potstill.work.stated import server_settings

# So many texts without targets, and none with, mean that none will have any.
_NONE_HAS = 16
_SHORT_TEXT = "A short text, to see whether the server reads it."


@dataclass(frozen=True)
class GivenText:
    """One stored exchange as ids of the server's tokens."""

    exchange_id: str
    prompt_ids: tuple[int, ...]
    response_ids: tuple[int, ...]


@dataclass(frozen=True)
class ScoringFigures:
    """What all calls of a run did: texts wanted, those with targets, and why others have none.

    Tokens and money are those of everything that was read; `money` is None without prices,
    `seconds` are this call's.
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

    def sentence(self, currency: str) -> str:
        """Return what a person wants to know of it at the end, in a line."""
        cost = "" if self.money is None else f", {amount(self.money, currency)}"
        said = (
            f"{self.scored} of {self.texts} answers that were read have the server's likeliest "
            f"tokens ({self.prompt_tokens + self.response_tokens} tokens{cost})"
        )
        if not self.without_targets:
            return said
        reasons = ", ".join(f"{why} ({count})" for why, count in self.without_targets.items())
        return f"{said}; the others have none: {reasons}"


def score_by_endpoint(
    config: EndpointConfig,
    model: str,
    texts: Sequence[GivenText],
    tokens: TeacherTokens,
    spec: TargetSpec,
    store: ExchangeStore,
    log: ReadingLog,
    decision: TermsDecision,
    *,
    spent: Tokens | None = None,
    progress: Progress,
    environ: Mapping[str, str] | None = None,
) -> ScoringFigures:
    """Have a server read texts, and store its likeliest tokens (`spec`, of top-k) as targets.

    Durable as they come, so that the same call goes on; what has been read is not read again,
    whatever came of it. `decision` is the terms gate's about the server's model; it raises where
    the outputs may not be used. `spent` counts towards the budget, as does all that `log` holds.
    Raises PotstillError where text is left unread: the budget is used up, or the server does not
    answer; and where no text could fare better: a server that tells nothing of given text,
    another tokenizer, a wrong key or model.
    """
    decision.require(asks=True)
    started = time.perf_counter()
    settings = server_settings(config)
    identity = settings.identity(model)
    having = store.target_ids(identity, spec)
    # Where no text ever had targets, the trouble was the server's: all are given to it again.
    settled = having | (log.without_targets if having else set())
    left = [text for text in texts if text.exchange_id not in settled]
    if left:
        at_once = in_flight_allowed(settings, progress)
        before = log.spent + (spent or Tokens())
        client = client_for(settings, model, spent=before, environ=environ, max_in_flight=at_once)
        with progress.step("read", total=len(texts), unit="texts") as step:
            step.advance(len(texts) - len(left))
            work = ReadingTexts(client, identity, tokens, spec, store, log, progress, step)
            work.had_targets = bool(having)
            work.score_all(left)
        having = store.target_ids(identity, spec)
    reasons = log.reasons(t.exchange_id for t in texts if t.exchange_id not in having)
    return ScoringFigures(
        texts=len(texts),
        scored=sum(text.exchange_id in having for text in texts),
        without_targets=dict(Counter(reasons).most_common()),
        prompt_tokens=log.spent_on_answers.prompt,
        response_tokens=log.spent_on_answers.response,
        money=settings.prices.of(log.spent_on_answers),
        seconds=time.perf_counter() - started,
    )


def require_reading(
    config: EndpointConfig,
    model: str,
    tokens: TeacherTokens,
    spec: TargetSpec,
    log: ReadingLog,
    decision: TermsDecision,
    *,
    spent: Tokens | None = None,
    environ: Mapping[str, str] | None = None,
) -> None:
    """Have the server read one short text, so that it is known early whether it can.

    Raises PotstillError where it tells nothing of it, or the budget does not allow even that.
    """
    decision.require(asks=True)
    assert spec.count is not None
    ids, count = tokens.tokenizer(_SHORT_TEXT)["input_ids"], spec.count
    before = log.spent + (spent or Tokens())
    client = client_for(
        server_settings(config), model, spent=before, environ=environ, max_in_flight=1
    )

    async def probe() -> Answered[ScoredText] | Failure:
        async with client:
            await client.check()
            return await client.score(ids, count)

    outcome = run_async(probe())
    if not isinstance(outcome, Answered):
        if outcome.kind == "budget":
            raise _over_budget()
        raise _tells_nothing(outcome.reason) if outcome.final else _no_answer({outcome.reason: 1})
    try:
        given_tokens(_told(outcome.answer), tokens, count)
    except NoTargets as error:
        log.add({PROBE: Reading(outcome.used, str(error))})
        raise _tells_nothing(str(error)) from None
    log.add({PROBE: Reading(outcome.used)})


def _told(answer: ScoredText) -> tuple[ScoredToken, ...]:
    if answer.scores is None:
        raise NoTargets("the server tells nothing of given text")
    return answer.scores


def _over_budget() -> PotstillError:
    return PotstillError(
        "the budget is used up before all text was read by the server; raise "
        "teacher.endpoint.budget or budget_tokens and run the same command again to go on"
    )


def _no_answer(reasons: Mapping[str, int]) -> PotstillError:
    said = ", ".join(f"{why} ({count})" for why, count in reasons.items())
    return PotstillError(
        f"the server did not answer for {sum(reasons.values())} texts that it was to read: {said}; "
        "what was read is stored, run the same command again when it does"
    )


def _tells_nothing(reason: str) -> PotstillError:
    return PotstillError(
        f"the server tells nothing to learn from of text that it was given to read ({reason}); "
        "take one that has vLLM's prompt_logprobs, for as many as teacher.endpoint.top_logprobs, "
        "and a student.model with its tokenizer, or start over without "
        "teacher.endpoint.scores_text"
    )


@dataclass(frozen=True)
class _TextRead:
    """What came of one text: its targets, where it has any, and what the log keeps of it."""

    exchange_id: str
    reading: Reading
    targets: ExchangeTargets | None = None


class KeepsTargets(Protocol):
    """Where targets are stored as they come."""

    def append_targets(self, targets: Sequence[ExchangeTargets]) -> None:
        """Store targets, durable on return; raises PotstillError for a full disk."""


class ReadingTexts:
    """One call while it goes on: what `ask_many` asks, and what came.

    `served` is what the server has said of itself before. Texts may be left without targets,
    unless `needed` says what is raised for the first that is.
    """

    def __init__(
        self,
        client: EndpointClient,
        identity: str,
        tokens: TeacherTokens,
        spec: TargetSpec,
        store: KeepsTargets,
        log: ReadingLog,
        progress: Progress,
        step: Step,
        *,
        served: Served | None = None,
        needed: Callable[[str], PotstillError] | None = None,
    ) -> None:
        assert spec.count is not None
        self._client, self._identity, self._tokens = client, identity, tokens
        self._spec, self._count, self._store, self._log = spec, spec.count, store, log
        self._progress, self._step, self._served = progress, step, served or Served()
        self._needed = needed
        self._without: Counter[str] = Counter()
        self._unread: Counter[str] = Counter()
        self.had_targets = False

    def score_all(self, texts: Sequence[GivenText]) -> None:
        """Have every text read; on an error too, what came is stored.

        Raises PotstillError where text is unread.
        """
        stopped = run_async(ask_many(self._client, texts, self, progress=self._progress))
        if stopped == "budget":
            raise _over_budget()
        if self._unread:
            raise _no_answer(dict(self._unread.most_common()))

    async def ask(self, text: GivenText) -> Answered[ScoredText] | Failure:
        """Send a text as ids."""
        return await self._client.score((*text.prompt_ids, *text.response_ids), self._count)

    def take(
        self, text: GivenText, outcome: Answered[ScoredText] | Failure
    ) -> Taken[GivenText, _TextRead]:
        """Return what the server tells of a text, or that it has nothing to tell of it."""
        if isinstance(outcome, Failure):
            return self._failed(text, outcome)
        answer = outcome.answer
        change = self._served.observe(answer.model, answer.fingerprint)
        if change is not None:
            self._progress.note(change)
        try:
            values = self._values(text, answer)
        except NoTargets as error:
            return self._lacks(text, str(error), outcome.used, served=True)
        self.had_targets = True
        targets = ExchangeTargets(text.exchange_id, self._identity, self._spec, values)
        return Taken(self._read(text, Reading(outcome.used), targets), served=True)

    def store(self, rows: list[_TextRead]) -> None:
        """Store what came. Targets first: what the log calls read has them, or never will."""
        targets = [row.targets for row in rows if row.targets is not None]
        if targets:
            self._store.append_targets(targets)
        self._log.add({row.exchange_id: row.reading for row in rows})

    def stored(self, rows: list[_TextRead]) -> None:
        """Texts count when they are read: nothing is to be done."""

    def _values(self, text: GivenText, answer: ScoredText) -> LikeliestTokens:
        """Return the response's targets. Raises NoTargets."""
        if not text.prompt_ids:
            raise NoTargets("no prompt to read")
        # The first id has no entry: what precedes token t is told at t - 1 of the rest.
        of_response = _told(answer)[len(text.prompt_ids) - 1 :]
        return given_tokens(of_response, self._tokens, self._count)

    def _failed(self, text: GivenText, outcome: Failure) -> Taken[GivenText, _TextRead]:
        if outcome.reason == TOO_LONG and self._needed is None:
            return Taken(self._read(text, Reading(Tokens(), outcome.reason)))
        if outcome.final:
            return self._lacks(text, outcome.reason, Tokens())
        self._unread[outcome.reason] += 1
        return Taken(served=False)

    def _lacks(
        self, text: GivenText, reason: str, used: Tokens, *, served: bool | None = None
    ) -> Taken[GivenText, _TextRead]:
        """Count a text that gets no targets; an error, once none seems to get any."""
        self._without[reason] += 1
        rows = self._read(text, Reading(used, reason))
        if self._needed is not None:
            return Taken(rows, error=self._needed(reason))
        if self.had_targets or self._without.total() < _NONE_HAS:
            return Taken(rows, served=served)
        return Taken(rows, error=_tells_nothing(self._without.most_common(1)[0][0]))

    def _read(
        self, text: GivenText, reading: Reading, targets: ExchangeTargets | None = None
    ) -> list[_TextRead]:
        self._step.advance(1, in_flight=self._client.slots.in_flight)
        return [_TextRead(text.exchange_id, reading, targets)]
