"""Asking a server that misbehaves: what is tried again, what stops, and that no key gets out."""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import Any

import pytest

from fault_server import Behaviour, FaultServer, error
from potstill.endpoint.budget import Budget, Prices, Tokens
from potstill.endpoint.client import Asked, EndpointClient, Failure, key_of
from potstill.endpoint.identity import Served, endpoint_identity
from potstill.endpoint.wire import ChatRequest
from potstill.errors import PotstillError
from potstill.models.sampling import Sampling
from potstill.recipe import EndpointConfig

KEY = "sk-very-secret-0123456789"
REQUEST = ChatRequest(({"role": "user", "content": "Hello"},), Sampling(max_tokens=50), seed=1)


def config(url: str, **fields: Any) -> EndpointConfig:
    return EndpointConfig(**{"url": url, "provider": "test", "tries": 4, **fields})


def asked(
    server: FaultServer,
    *,
    model: str = "nano",
    key: str | None = None,
    check: bool = False,
    request: ChatRequest = REQUEST,
    budget: Budget | None = None,
    **fields: Any,
) -> tuple[Asked | Failure, EndpointClient]:
    async def main() -> tuple[Asked | Failure, EndpointClient]:
        made = config(server.url, **fields)
        async with EndpointClient(
            made, model, key=key, budget=budget or Budget(Prices())
        ) as client:
            if check:
                await client.check()
            return await client.ask(request), client

    return asyncio.run(main())


def refusal(behaviour: Behaviour, **options: Any) -> str:
    with FaultServer(behaviour) as server, pytest.raises(PotstillError) as caught:
        asked(server, check=True, **options)
    assert KEY not in repr(caught.value)
    return str(caught.value).replace(server.url.removesuffix("/v1"), "HOST")


def test_an_answer_comes_with_usage_and_latency() -> None:
    with FaultServer(Behaviour(latency_s=0.01)) as server:
        outcome, client = asked(server, check=True)
    assert isinstance(outcome, Asked)
    assert outcome.answer.choices[0].text.startswith("answer ")
    assert outcome.used == Tokens(7, 5)
    assert 0.01 <= outcome.latency_s < 5
    assert (client.requests, client.retries) == (1, 0)


@pytest.mark.parametrize(
    ("fault", "reason", "charged"),
    [
        ("429", "rate limited", False),
        ("429 with Retry-After", "rate limited", False),
        ("500", "status 500", False),
        ("503", "status 503", False),
        ("truncated JSON", "no JSON, or JSON cut short", True),
        ("dropped", "connection dropped", True),
        ("dropped half-way", "connection dropped", True),
        ("HTML page", "an HTML page", False),
        ("200 with an error", "an error with status 200", False),
        ("error that quotes the key", "status 500", False),
    ],
)
def test_a_fault_is_tried_again_and_then_named(
    fault: str, reason: str, charged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("potstill.endpoint.client.wait_s", lambda *_: 0.0)
    with FaultServer(Behaviour(rate=1.0, faults=(fault,), key=KEY)) as server:
        outcome, client = asked(server, key=KEY)
    assert outcome == Failure(reason)
    assert server.requests == client.requests == (20 if reason == "rate limited" else 4)
    # What may have been generated counts as spent, at its most.
    assert client.budget.spent == client.uncertain
    assert (client.uncertain.response > 0) == charged
    assert client.budget.reserved == Tokens()


def test_after_a_fault_the_answer_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("potstill.endpoint.client.wait_s", lambda *_: 0.0)
    with FaultServer(Behaviour(rate=0.5, seed=3)) as server:
        for _ in range(20):
            outcome, _ = asked(server, tries=12)
            assert isinstance(outcome, Asked)
    assert sum(server.met.values()) > 5


def test_a_response_that_takes_too_long_is_given_up() -> None:
    with FaultServer(Behaviour(latency_s=5)) as server:
        outcome, client = asked(server, timeout_s=0.1, tries=1)
    assert outcome == Failure("timed out")
    assert client.uncertain.response == 50


def test_a_server_that_asks_for_an_hour_is_not_waited_for() -> None:
    behaviour = Behaviour(rate=1.0, faults=("429 with Retry-After",), retry_after="3600")
    with FaultServer(behaviour) as server:
        assert asked(server)[0] == Failure("rate limited")


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (
            400,
            {"code": 400, "message": "exceeds", "type": "exceed_context_size_error"},
            "the prompt does not fit the server's context",
        ),
        (
            400,
            {"message": "This model's maximum context length is 8 tokens", "code": None},
            "the prompt does not fit the server's context",
        ),
        (413, {}, "the prompt does not fit the server's context"),
        (400, {"message": "no", "param": "top_k"}, "status 400 (top_k)"),
        (400, {"message": f"bad {KEY}", "code": KEY}, "status 400"),
        (422, {"message": "Hello was not good", "type": "a word with spaces"}, "status 422"),
    ],
)
def test_a_prompt_that_is_refused_is_asked_once(
    status: int, body: dict[str, Any], reason: str
) -> None:
    with FaultServer(Behaviour(status=(status, {"error": body}))) as server:
        outcome, _ = asked(server, key=KEY)
    assert outcome == Failure(reason, final=True)
    assert server.requests == 1


def test_no_server_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    async def main() -> None:
        url = f"http://127.0.0.1:{port}/v1"
        async with EndpointClient(config(url), "nano", budget=Budget(Prices())) as client:
            await client.check()

    with pytest.raises(PotstillError) as caught:
        asyncio.run(main())
    assert str(caught.value) == (
        f"no server answers at http://127.0.0.1:{port}; start it, or check teacher.endpoint.url"
    )


def test_what_is_wrong_for_every_prompt_stops_the_run_in_one_sentence() -> None:
    assert refusal(Behaviour(page=True)) == (
        "the server at HOST is no OpenAI-compatible one (models gave no list of names); check "
        "teacher.endpoint.url, which usually ends in /v1"
    )
    assert refusal(Behaviour(), model="giant") == (
        "the server at HOST has no model giant; it offers nano, other: set teacher.model to one "
        "of them"
    )
    assert refusal(Behaviour(key="another")) == (
        "the server at HOST asks for a key (status 401); put it in an environment variable and "
        "name that in teacher.endpoint.key_env"
    )
    assert refusal(Behaviour(key="another"), key=KEY, key_env="THE_KEY") == (
        "the server at HOST refuses the key in THE_KEY (status 401); check that it is valid and "
        "may use this model"
    )


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (404, error("model_not_found", "no"), "has no model nano; set teacher.model to the name"),
        (404, {}, "is no OpenAI-compatible one (chat/completions gave status 404)"),
        (405, {}, "is no OpenAI-compatible one (chat/completions gave status 405)"),
        (403, error("forbidden", "no"), "asks for a key (status 403)"),
        (402, error("balance", "no"), "the account's credit is used up"),
        (429, error("insufficient_quota", "no"), "the account's credit is used up"),
        (308, {}, "redirects to another address"),
    ],
)
def test_statuses_that_stop_the_run(status: int, body: dict[str, Any], words: str) -> None:
    behaviour = Behaviour(status=(status, body), lists_models=False)
    assert words in refusal(behaviour)


def test_a_403_after_answers_is_that_prompts_alone() -> None:
    async def main(server: FaultServer) -> Asked | Failure:
        budget = Budget(Prices())
        async with EndpointClient(config(server.url), "nano", budget=budget) as client:
            assert isinstance(await client.ask(REQUEST), Asked)
            server.behaviour = Behaviour(status=(403, error("moderation", "no")))
            return await client.ask(REQUEST)

    with FaultServer() as server:
        assert asyncio.run(main(server)) == Failure("status 403 (moderation)", final=True)


def test_a_key_comes_from_the_environment_alone() -> None:
    named = config("http://127.0.0.1:1/v1", key_env="THE_KEY")
    assert key_of(named, {"THE_KEY": f"{KEY}\n"}) == KEY
    assert key_of(config("http://127.0.0.1:1/v1"), {"THE_KEY": KEY}) is None
    for environ in ({}, {"THE_KEY": " "}):
        with pytest.raises(PotstillError, match="THE_KEY, but there is no such environment"):
            key_of(named, environ)
    for bad in (f"{KEY}\nX: y", f"{KEY} more", f"{KEY}é"):
        with pytest.raises(PotstillError, match="holds no usable key") as caught:
            key_of(named, {"THE_KEY": bad})
        assert KEY not in str(caught.value)


def test_no_key_in_logs_or_representations(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with FaultServer(Behaviour(key=KEY)) as server:
        outcome, client = asked(server, key=KEY, check=True)
    assert isinstance(outcome, Asked)
    for text in (caplog.text, repr(client), str(client), repr(outcome), repr(client.config)):
        assert KEY not in text


def test_a_response_that_holds_the_key_is_not_kept() -> None:
    with FaultServer(Behaviour(key=KEY, text=f'"your key is {KEY}"')) as server:
        assert asked(server, key=KEY)[0] == Failure("the response holds the key", final=True)


def test_a_budget_is_kept_and_nothing_is_asked_beyond_it() -> None:
    with FaultServer() as server:
        small = Budget(Prices(1.0, 1.0), tokens=60)
        assert asked(server, budget=small, budget_tokens=60)[0] == Failure("the budget", "budget")
        assert server.requests == 0
        missing = {"max_tokens": None}
        with pytest.raises(PotstillError, match="no budget can hold"):
            asked(server, extra=missing, budget_tokens=60)


def test_without_usage_the_worst_case_is_charged() -> None:
    with FaultServer(Behaviour(usage=False)) as server:
        outcome, client = asked(server)
    assert isinstance(outcome, Asked)
    assert outcome.used.response == 50
    assert client.budget.spent == outcome.used


def test_an_identity_has_no_address() -> None:
    assert endpoint_identity("vllm", "org/m") == "vllm/org/m"
    assert endpoint_identity("vllm", "org/m", "r1") == "vllm/org/m@r1"


def test_a_change_of_what_serves_is_told_once() -> None:
    served = Served()
    assert served.observe("a", "1") is None
    assert served.observe("a", "1") is None
    told = served.observe("b", "1")
    assert told == "the server changed its model name from a to b in mid-run; both are stored"
    assert served.observe("b", None) is None
    assert "its system fingerprint from 1 to 2" in str(served.observe("a", "2"))
    assert served.models == {"a": 3, "b": 2}
    assert list(served.fingerprints) == ["1", "2"]
