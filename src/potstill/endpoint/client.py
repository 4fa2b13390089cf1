"""Ask a server: one prompt or text in, its answer or the reason for having none out."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import httpx2

from potstill.durable import out_of_files
from potstill.endpoint import complaints
from potstill.endpoint.budget import Budget, Tokens, most_prompt_tokens
from potstill.endpoint.charging import Basis, charge_of
from potstill.endpoint.concurrency import InFlightLimit, Slots
from potstill.endpoint.labels import shown
from potstill.endpoint.refusals import Setback, setback_of
from potstill.endpoint.retry import wait_s
from potstill.endpoint.scoring import ScoredText, parse_scores, scoring_body
from potstill.endpoint.wire import (
    Answer,
    ChatRequest,
    UnreadableAnswer,
    offered_models,
    parse_answer,
    request_body,
)
from potstill.recipe import EndpointConfig
from potstill.text.address import host_of, is_own_host

_CONNECT_S = 15.0
# A rate limit is no fault of the prompt: it may come back this many times as often.
_RATE_LIMIT_PATIENCE = 5
_LONGEST_WAIT_S = 600.0


_A = TypeVar("_A", Answer, ScoredText)


@dataclass(frozen=True)
class Asked(Generic[_A]):
    """An answer, the tokens it is charged with, and how long its request was open, in seconds.

    `basis` says where the number of tokens comes from.
    """

    answer: _A
    used: Tokens
    latency_s: float
    basis: Basis = "stated"


@dataclass(frozen=True)
class _Call(Generic[_A]):
    """One request: where it goes, what it says, its worst case, and how its answer is read."""

    path: str
    content: bytes
    n: int
    worst: Tokens
    read: Callable[[bytes], _A]


@dataclass(frozen=True)
class Failure:
    """Why a prompt has no answer. `budget`: asking it could have exceeded the budget.

    `final`: the server refuses this prompt, and would each time.
    """

    reason: str
    kind: Literal["prompt", "budget"] = "prompt"
    final: bool = False


def key_of(config: EndpointConfig, environ: Mapping[str, str]) -> str | None:
    """Return the key that the recipe's environment variable holds, None where it names none.

    Raises PotstillError, without the value, where it is missing or no header can carry it.
    """
    if config.key_env is None:
        return None
    key = environ.get(config.key_env, "").strip()
    if not key:
        raise complaints.key_not_set(config)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise complaints.key_unusable(config)
    return key


class EndpointClient:
    """A server that is asked for one model's answers; use it as an async context manager.

    It holds the key, which nothing that it returns, raises or prints contains. `max_in_flight`
    may be fewer than the recipe's. `budget`, `slots` and the counts are for reading.
    """

    def __init__(
        self,
        config: EndpointConfig,
        model: str,
        *,
        key: str | None = None,
        budget: Budget,
        max_in_flight: int | None = None,
    ) -> None:
        self.config, self.model, self.budget = config, model, budget
        self.max_in_flight = max_in_flight or config.max_in_flight
        self.slots = Slots(InFlightLimit(self.max_in_flight))
        self.requests = self.retries = self.answers = 0
        self.uncertain = Tokens()  # of tries that brought nothing but may have been charged
        self._key = key
        self._offered: list[str] | None = None
        self._own = is_own_host(host_of(config.url))
        self._settled = asyncio.Condition()
        self._spent_up = False
        self._stopping = asyncio.Event()
        self._http = httpx2.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx2.Timeout(config.timeout_s, connect=min(_CONNECT_S, config.timeout_s)),
            limits=httpx2.Limits(
                max_connections=self.max_in_flight,
                max_keepalive_connections=self.max_in_flight,
            ),
            trust_env=not self._own,  # a proxy is not on the way to one's own network
        )

    async def __aenter__(self) -> EndpointClient:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._http.__aexit__(*error)

    def stop(self) -> None:
        """Start no further request; those in flight, which may be paid for, go on to their end."""
        self._stopping.set()

    async def check(self) -> None:
        """Ask for the server's list of models, which costs nothing, before anything else.

        Raises PotstillError where no server is there, it is no OpenAI-compatible one, it refuses
        the key, or it lists models and not this one. A server without a list passes.
        """
        for failures in range(1, self.config.tries + 1):
            try:
                response = await self._http.get(f"{self.config.url}/models")
            except httpx2.ConnectError as error:
                if out_of_files(error):
                    raise complaints.too_many_files(None, None) from None
                raise complaints.no_server(self.config) from None
            except httpx2.HTTPError:
                response = None
            if response is not None and response.status_code == 200:
                self._offered = offered_models(response.content)
                if self._offered is None:
                    raise complaints.no_openai_server(self.config, "models gave no list of names")
                if self._offered and not _serves(self._offered, self.model):
                    raise complaints.unknown_model(self.config, self.model, self._names())
                return
            if response is not None and response.status_code in (400, 404, 405, 501):
                return
            setback = Setback("dropped", "transient")
            if response is not None:
                setback = self._setback(response, "models")
            if setback.verdict != "final" and failures < self.config.tries:
                await asyncio.sleep(wait_s(setback.asked_wait_s, failures, random.random()))
        raise complaints.no_server(self.config)

    async def ask(self, request: ChatRequest) -> Asked[Answer] | Failure:
        """Return the answer, after as many tries as the recipe allows, or why there is none.

        Raises PotstillError where no other prompt would fare better.
        """
        body = request_body(
            request,
            self.model,
            top_logprobs=self.config.top_logprobs,
            spell_out=self._own,
            extra=self.config.extra,
        )
        return await self._tried(
            _Call(
                "chat/completions",
                json.dumps(body).encode(),
                request.n,
                self._worst(request, body),
                partial(parse_answer, n=request.n),
            )
        )

    async def score(self, ids: Sequence[int], count: int) -> Asked[ScoredText] | Failure:
        """Return the `count` likeliest tokens at each of given ids, or why there are none.

        Raises PotstillError where no other text would fare better.
        """
        body = scoring_body(ids, self.model, count, spell_out=self._own, extra=self.config.extra)
        return await self._tried(
            _Call(
                "completions",
                json.dumps(body).encode(),
                1,
                Tokens(len(ids), 1),
                partial(parse_scores, ids=ids),
            )
        )

    async def _tried(self, call: _Call[_A]) -> Asked[_A] | Failure:
        faults = limits = 0
        while True:
            if not await self._may_start(call.worst):
                return Failure("the budget", "budget")
            outcome = await self._try(call)
            if isinstance(outcome, Asked):
                return outcome
            faults += outcome.verdict == "transient"
            limits += outcome.verdict == "rate_limit"
            if (
                outcome.verdict == "final"
                or self._stopping.is_set()
                or faults >= self.config.tries
                or limits >= self.config.tries * _RATE_LIMIT_PATIENCE
                or (outcome.asked_wait_s or 0) > _LONGEST_WAIT_S
            ):
                return Failure(outcome.reason, final=outcome.verdict == "final")
            self.retries += 1
            await self._pause(wait_s(outcome.asked_wait_s, faults + limits, random.random()))

    async def _pause(self, seconds: float) -> None:
        """Wait before another try, no longer than there may be one."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    def _worst(self, request: ChatRequest, body: Mapping[str, Any]) -> Tokens:
        """Return more tokens than the request can be charged with."""
        limits = [body.get(name) for name in ("max_tokens", "max_completion_tokens")]
        known = [limit for limit in limits if isinstance(limit, int)]
        if not known and (self.config.budget or self.config.budget_tokens):
            raise complaints.unbounded(self.config)
        longest = max(known, default=request.sampling.max_tokens)
        prompt = most_prompt_tokens(request.messages, request.tools)
        return Tokens(prompt, longest * request.n)

    async def _may_start(self, worst: Tokens) -> bool:
        """Set the worst case aside, once it fits; after one that cannot fit nothing starts."""
        async with self._settled:
            while not self._spent_up:
                verdict = self.budget.reserve(worst)
                if verdict == "go":
                    return True
                if verdict == "stop":
                    self._spent_up = True
                    self._settled.notify_all()
                    break
                await self._settled.wait()
        return False

    async def _settle(self, worst: Tokens, used: Tokens) -> None:
        self.budget.settle(worst, used)
        async with self._settled:
            self._settled.notify_all()

    async def _try(self, call: _Call[_A]) -> Asked[_A] | Setback:
        used = Tokens()
        try:
            async with self.slots.slot() as episode:
                if self._stopping.is_set():
                    return Setback("stopped", "final")
                self.requests += 1
                started = time.perf_counter()
                outcome = await self._send(call)
                latency = time.perf_counter() - started
                if not isinstance(outcome, Setback):
                    self.slots.answered(episode, latency)
                    self.answers += 1
                elif outcome.verdict != "final":
                    self.slots.congested(episode)
            if not isinstance(outcome, Setback):
                charge = charge_of(outcome, call.worst, call.n)
                used = charge.used
                return Asked(outcome, used, latency, charge.basis)
            if outcome.billed:
                used = call.worst
                self.uncertain += call.worst
            return outcome
        finally:
            await self._settle(call.worst, used)

    async def _send(self, call: _Call[_A]) -> _A | Setback:
        headers = {"Content-Type": "application/json"}
        url = f"{self.config.url}/{call.path}"
        try:
            response = await self._http.post(url, content=call.content, headers=headers)
        except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
            # Nothing was asked yet, and with fewer in flight it can be.
            few = out_of_files(error)
            return Setback("too many open files" if few else "no connection", "transient")
        except httpx2.TimeoutException:
            return Setback("timed out", "transient", billed=True)
        except httpx2.HTTPError:
            return Setback("connection dropped", "transient", billed=True)
        if response.status_code != 200:
            return self._setback(response, call.path)
        if self._key and self._key.encode() in response.content:
            return Setback("the response holds the key", "final", billed=True)
        try:
            answer = call.read(response.content)
        except UnreadableAnswer as error:
            return Setback(error.reason, "transient", billed=error.billed)
        if self._key and answer.says(self._key):  # in an escaped spelling
            return Setback("the response holds the key", "final", billed=True)
        return answer

    def _setback(self, response: httpx2.Response, path: str) -> Setback:
        return setback_of(
            path,
            response.status_code,
            response.headers,
            response.content,
            config=self.config,
            model=self.model,
            offered=self._names(),
            key=self._key,
            answered_before=self.answers > 0,
        )

    def _names(self) -> list[str] | None:
        """Return the server's models as they may be printed."""
        if self._offered is None:
            return None
        return list(dict.fromkeys(shown(name, self._key) for name in self._offered))


def _serves(offered: list[str], model: str) -> bool:
    """Tell whether a list has the model: by its name, with Ollama's tag, without a route."""
    return bool({model, f"{model}:latest", model.partition(":")[0]}.intersection(offered))
