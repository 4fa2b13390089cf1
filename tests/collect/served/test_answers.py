"""A served teacher's responses are stored whole and once, whatever the server or a kill does."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from fault_server import HARMLESS, Behaviour, FaultServer, error
from potstill.collect.served import answers as endpoint
from potstill.collect.served.figures import EndpointFigures
from potstill.collect.served.pending import estimate, wanted_of
from potstill.curate.filters import invalid
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Prompt
from potstill.exchanges.store import ExchangeStore
from potstill.recipe import EndpointConfig
from potstill.terms import Evidence, Stated, decide
from potstill.text.turns import prompt_id_of
from served_collecting import KEY, SAMPLING, Notes, collected, prompts, rows

TOOLS = '[{"type":"function","function":{"name":"find","parameters":{"type":"object"}}}]'


def test_a_served_teacher_is_asked_with_tools_and_its_calls_are_stored(tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "find"}}
    earlier = {**call, "function": {"name": "find", "arguments": {"b": 1, "a": 2}}}
    messages = (
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "content": "", "tool_calls": [earlier]},
        {"role": "tool", "content": "busy", "tool_call_id": "c"},
    )
    prompt = Prompt(prompt_id_of(messages, TOOLS), messages, "train", "test", tools=TOOLS)
    told = {**call, "function": {"name": "find", "arguments": '{"again": true}'}}
    cut = {**call, "function": {"name": "find", "arguments": '{"again": tr'}}
    choices = [
        {"finish_reason": "tool_calls", "message": {"content": "Once more.", "tool_calls": [told]}},
        {"finish_reason": "length", "message": {"content": None, "tool_calls": [cut]}},
    ]
    with FaultServer(Behaviour(more={"choices": choices})) as server:
        collected(server, tmp_path, [prompt], samples=2)
        collected(server, tmp_path, [prompt], samples=2)
        (body,) = server.bodies
    assert body["tools"] == json.loads(TOOLS)
    arguments = body["messages"][1]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"b": 1, "a": 2} and body["messages"][2] == messages[2]
    whole, half = sorted(rows(tmp_path), key=lambda row: row.sample_index)
    assert (whole.response, whole.finish_reason, whole.tools) == ("Once more.", "stop", TOOLS)
    assert whole.calls[0]["function"] == {"name": "find", "arguments": {"again": True}}
    assert (half.response, half.finish_reason) == ("", "length")
    assert invalid(half) == "a tool call whose arguments are no JSON object"
    assert invalid(whole) is None and whole.messages == messages


def test_every_response_is_stored_whole(tmp_path: Path) -> None:
    progress = Notes()
    with FaultServer() as server:
        figures = collected(
            server,
            tmp_path,
            prompts(40),
            progress=progress,
            revision="r1",
            price_in=1.0,
            price_out=2.0,
        )
    assert (figures.wanted, figures.before, figures.stored) == (40, 0, 40)
    assert (figures.prompt_tokens, figures.response_tokens) == (280, 200)
    assert figures.money == pytest.approx(680 / 1e6)
    assert (figures.failures, figures.stopped, figures.retries) == ((), None, 0)
    assert figures.returned_models == {"nano": 40}
    found = rows(tmp_path)
    assert {row.prompt_id for row in found} == {p.prompt_id for p in prompts(40)}
    for row in found:
        assert row.response.startswith("answer ")
        assert row.teacher == "test/nano@r1"
        assert (row.prompt_token_ids, row.response_token_ids, row.tokenizer) == (None, None, None)
        assert (row.engine, row.finish_reason, row.sample_index) == ("endpoint", "stop", 0)
        assert row.usage == {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}
        assert (row.returned_model, row.system_fingerprint) == ("nano", "fp_1")
        assert row.latency_s is not None
        assert row.terms_decision.startswith("allow: mit")
    assert progress.done == 40
    assert progress.shown.keys() == {"in_flight", "failed", "cost"}
    assert "40 responses, 200 tokens" in progress.lines[-1]
    assert figures.record()["failed"] == {}


def test_the_store_compacts_rows_without_ids(tmp_path: Path) -> None:
    with FaultServer() as server:
        collected(server, tmp_path, prompts(5), samples=2)
    before = rows(tmp_path)
    store = ExchangeStore(tmp_path)
    store.compact()
    assert store.read() == before
    assert store.stats()["exchanges"] == 10
    store.close()


def test_without_permission_nothing_is_asked(tmp_path: Path) -> None:
    refused = decide("nano", (Evidence("llama3", "test", "llama3"),), Stated())
    with FaultServer() as server:
        with pytest.raises(PotstillError, match="may not be distilled"):
            collected(server, tmp_path, prompts(3), decision=refused)
        assert server.requests == 0


def test_a_second_call_asks_nothing(tmp_path: Path) -> None:
    with FaultServer() as server:
        collected(server, tmp_path, prompts(10), samples=2)
        before = server.requests
        figures = collected(server, tmp_path, prompts(10), samples=2)
        assert server.requests == before
        assert (figures.before, figures.stored, figures.requests) == (20, 0, 0)
        more = collected(server, tmp_path, prompts(12), samples=3)
    assert (more.wanted, more.before, more.stored) == (36, 20, 16)
    assert len(rows(tmp_path)) == 36


def test_faults_lose_and_double_nothing(tmp_path: Path) -> None:
    with FaultServer(Behaviour(rate=0.2, seed=1, key=KEY, delay_s=0.01)) as server:
        figures = collected(server, tmp_path, prompts(150), samples=2, key_env="THE_KEY")
    assert (figures.stored, figures.failures) == (300, ())
    assert figures.retries >= sum(server.met.values()) - sum(server.met[f] for f in HARMLESS)
    found = rows(tmp_path)
    assert len({(row.prompt_id, row.sample_index) for row in found}) == len(found) == 300
    assert len({row.response for row in found}) == 300
    assert figures.returned_models["impostor"] == server.met["wrong model"]
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or KEY.encode() not in file.read_bytes()


@pytest.mark.parametrize("most_n", [1, 2])
def test_a_server_that_ignores_n_loses_and_doubles_no_sample(tmp_path: Path, most_n: int) -> None:
    progress = Notes()
    with FaultServer(Behaviour(most_n=most_n)) as server:
        figures = collected(server, tmp_path, prompts(8), samples=5, progress=progress)
        seeds = [(b["messages"][0]["content"], b["seed"]) for b in server.bodies]
    assert figures.stored == 40
    found = rows(tmp_path)
    assert {(r.prompt_id, r.sample_index) for r in found} == {
        (p.prompt_id, i) for p in prompts(8) for i in range(5)
    }
    assert len({row.response for row in found}) == 40
    # Asked again with the same seed, it might give the same answer again.
    assert len(set(seeds)) == len(seeds)
    told = [line for line in progress.lines if "of 5 samples at a time" in line]
    assert told == [
        f"the server gives {most_n} of 5 samples at a time; they are asked for one by one"
    ]


def test_what_n_samples_took_is_counted_once(tmp_path: Path) -> None:
    with FaultServer() as server:
        figures = collected(server, tmp_path, prompts(4), samples=3)
    found = rows(tmp_path)
    assert sum(row.usage["prompt_tokens"] for row in found) == figures.prompt_tokens == 28
    assert sum(row.usage["completion_tokens"] for row in found) == figures.response_tokens == 60


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (r'"a\u0000b"', "a NUL byte in the response"),
        (r'"a\ud800b"', "a lone surrogate in the response"),
    ],
)
def test_a_response_that_cannot_be_stored_is_a_failure(
    tmp_path: Path, text: str, reason: str
) -> None:
    progress = Notes()
    with FaultServer(Behaviour(text=text)) as server:
        figures = collected(server, tmp_path, prompts(3), progress=progress)
    assert figures.failed == {reason: 3}
    assert {prompt_id for prompt_id, _ in figures.failures} == {p.prompt_id for p in prompts(3)}
    assert rows(tmp_path) == []
    assert f"3 prompts failed: {reason} (3); run the same command again" in progress.lines[-1]


def test_failed_prompts_are_asked_again_by_the_next_call(tmp_path: Path) -> None:
    refused = error("exceed_context_size_error", "too long")
    with FaultServer(Behaviour(status=(400, refused))) as server:
        first = collected(server, tmp_path, prompts(60))
        assert first.failed == {"the prompt does not fit the server's context": 60}
        assert server.requests == 60
        server.behaviour = Behaviour()
        second = collected(server, tmp_path, prompts(60))
    assert (second.stored, second.failures) == (60, ())


def test_where_nothing_is_answered_the_run_stops(tmp_path: Path) -> None:
    with FaultServer(Behaviour(status=(400, error("bad", "no")))) as server:
        with pytest.raises(PotstillError, match=r"none of the first 50 prompts \(status 400"):
            collected(server, tmp_path, prompts(200))
        assert server.requests < 200


def test_a_server_that_breaks_down_stops_the_run_cleanly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "_HOPELESS", 5)
    progress = Notes()
    with FaultServer() as server:
        collected(server, tmp_path, prompts(10))
        server.behaviour = Behaviour(rate=0.85, faults=("200 with an error",), seed=3)
        figures = collected(
            server, tmp_path, prompts(300), tries=1, max_in_flight=1, progress=progress
        )
    assert figures.stopped == "failures"
    assert figures.stored > 0
    assert figures.before + figures.stored == len(rows(tmp_path)) < 300
    assert "stopped since every request failed" in progress.lines[-1]


def test_truncated_responses_are_marked(tmp_path: Path) -> None:
    with FaultServer(Behaviour(finish="length")) as server:
        collected(server, tmp_path, prompts(2))
    assert {row.finish_reason for row in rows(tmp_path)} == {"length"}


def test_a_change_in_mid_run_is_told_and_the_first_name_remembered(tmp_path: Path) -> None:
    with FaultServer() as server:
        collected(server, tmp_path, prompts(3))
        server.behaviour = Behaviour(fingerprint="fp_2")
        progress = Notes()
        figures = collected(server, tmp_path, prompts(6), progress=progress)
    assert figures.fingerprints == {"fp_2": 3}
    assert progress.lines[0] == (
        "the server changed its system fingerprint from fp_1 to fp_2 in mid-run; both are stored"
    )


def test_another_teachers_rows_stay_and_count_for_nothing(tmp_path: Path) -> None:
    progress = Notes()
    with FaultServer() as server:
        collected(server, tmp_path, prompts(4), provider="first")
        figures = collected(server, tmp_path, prompts(4), provider="second", progress=progress)
    assert (figures.before, figures.stored) == (0, 4)
    assert sorted(row.teacher for row in rows(tmp_path)) == ["first/nano"] * 4 + ["second/nano"] * 4
    assert progress.lines[0] == (
        "the store holds 4 responses of another teacher, first/nano: they stay, and second/nano "
        "is asked all the same"
    )


def test_extra_keys_are_part_of_an_exchange(tmp_path: Path) -> None:
    with FaultServer() as server:
        collected(server, tmp_path, prompts(2))
        thinking = {"chat_template_kwargs": {"enable_thinking": True}}
        figures = collected(server, tmp_path, prompts(2), extra=thinking)
        assert server.bodies[-1]["chat_template_kwargs"] == {"enable_thinking": True}
    assert figures.stored == 2
    assert len(rows(tmp_path)) == 4


@pytest.mark.parametrize(("price_in", "price_out"), [(1.0, 50.0), (50.0, 1.0)])
def test_the_budget_is_never_exceeded(tmp_path: Path, price_in: float, price_out: float) -> None:
    progress = Notes()
    money = {"price_in": price_in, "price_out": price_out, "budget": 0.05}
    with FaultServer(Behaviour(latency_s=0.002)) as server:
        first = collected(server, tmp_path, prompts(400), progress=progress, **money)
        second = collected(server, tmp_path, prompts(400), **money)
    assert first.stopped == second.stopped == "budget"
    assert first.failures == second.failures == ()
    paid = (server.requests * 7 * price_in + server.requests * 5 * price_out) / 1e6
    assert 0.02 < paid <= 0.05
    # All that was paid for is there, and a second call has nothing left to spend.
    assert len(rows(tmp_path)) == server.requests == first.stored
    assert second.requests == 0
    assert "stopped before the budget could be exceeded" in progress.lines[-1]


def test_a_budget_of_tokens_counts_what_failed_tries_may_have_taken(tmp_path: Path) -> None:
    behaviour = Behaviour(rate=1.0, faults=("dropped half-way",))
    with FaultServer(behaviour) as server:
        figures = collected(server, tmp_path, prompts(20), budget_tokens=2_000)
    assert figures.stopped == "budget"
    assert figures.uncertain_tokens <= 2_000
    assert 0 < server.requests < 20


def test_a_store_that_fails_stops_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise PotstillError("the disk is full")

    monkeypatch.setattr(ExchangeStore, "append", full)
    with FaultServer() as server, pytest.raises(PotstillError, match="the disk is full"):
        collected(server, tmp_path, prompts(500))


def test_an_error_keeps_what_had_come(tmp_path: Path) -> None:
    revoked = FaultServer(Behaviour(revoked_after=200))
    with revoked as server, pytest.raises(PotstillError, match="asks for a key"):
        collected(server, tmp_path, prompts(1_000), max_in_flight=4)
    # What was in flight at that moment is paid for, and waited for.
    assert len(rows(tmp_path)) == sum(server.seen.values()) == 200


@pytest.mark.parametrize("fault", [RuntimeError("odd"), PotstillError("full"), OSError(24, "x")])
def test_whatever_stops_the_store_for_once_what_came_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception
) -> None:
    plain, calls = ExchangeStore.append, iter([None, fault])

    def once(self: ExchangeStore, *given: Any) -> None:
        error = next(calls, None)
        if error is not None:
            raise error
        plain(self, *given)

    monkeypatch.setattr(ExchangeStore, "append", once)
    progress = Notes()
    with FaultServer(Behaviour(latency_s=0.3)) as server, pytest.raises(type(fault)):
        collected(server, tmp_path, prompts(400), max_in_flight=8, progress=progress)
    assert 0 < server.requests < 400
    assert len(rows(tmp_path)) == sum(server.seen.values())


@pytest.mark.parametrize("moment", [1, 20])
def test_an_interruption_keeps_what_came(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Ctrl-C, as the system sends it, while answers come."""
    plain, seen = endpoint.rows_of, []

    def interrupted(*given: Any) -> Any:
        seen.append(plain(*given))
        if len(seen) == moment:
            os.kill(os.getpid(), signal.SIGINT)
        return seen[-1]

    monkeypatch.setattr(endpoint, "rows_of", interrupted)
    with FaultServer() as server, pytest.raises(KeyboardInterrupt):
        collected(server, tmp_path, prompts(400), max_in_flight=4)
    assert len(rows(tmp_path)) == len(seen) < 400


def test_what_cannot_be_read_of_one_answer_keeps_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, seen = endpoint.rows_of, []

    def odd(*given: Any) -> Any:
        if len(seen) == 30:
            raise ZeroDivisionError
        seen.append(plain(*given))
        return seen[-1]

    monkeypatch.setattr(endpoint, "rows_of", odd)
    with FaultServer() as server, pytest.raises(ZeroDivisionError):
        collected(server, tmp_path, prompts(400), max_in_flight=4)
    assert len(rows(tmp_path)) == len(seen) == 30


def test_it_works_where_a_loop_is_running(tmp_path: Path) -> None:
    async def notebook() -> EndpointFigures:
        with FaultServer() as server:
            return collected(server, tmp_path, prompts(3))

    assert asyncio.run(notebook()).stored == 3


def test_an_estimate_asks_nothing_and_bounds_the_cost(tmp_path: Path) -> None:
    asked = prompts(10, "x" * 39 + "{}")
    config = EndpointConfig(url="http://127.0.0.1:1/v1", provider="p", price_in=1, price_out=10)
    found = estimate(config, "nano", asked, SAMPLING, samples=2)
    assert (found.prompts, found.responses) == (10, 20)
    assert (found.prompt_tokens, found.most_response_tokens) == (100, 320)
    assert found.money == pytest.approx((100 + 3200) / 1e6)
    stored = {key for w in wanted_of(config, "nano", asked[:4], SAMPLING) for _, key in w.samples}
    assert estimate(config, "nano", asked, SAMPLING, stored=stored).prompts == 6
    free = EndpointConfig(url="http://127.0.0.1:1/v1", provider="p")
    assert estimate(free, "nano", asked, SAMPLING).money is None


def test_an_estimate_counts_with_the_template(nano_llama: Path) -> None:
    from potstill.models.load import load_conversation

    config = EndpointConfig(url="http://127.0.0.1:1/v1", provider="p")
    spoken = load_conversation(str(nano_llama))
    found = estimate(config, "nano", prompts(3), SAMPLING, conversation=spoken)
    ids = [
        spoken.tokenizer.apply_chat_template(list(p.messages), add_generation_prompt=True)[
            "input_ids"
        ]
        for p in prompts(3)
    ]
    assert found.prompt_tokens == sum(map(len, ids))
