"""A server reads stored text: its likeliest tokens are those of the model itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import pipeline_runs
from fault_server import Behaviour, FaultServer, error, send
from potstill.collect.served.reading import (
    GivenText,
    ScoringFigures,
    require_reading,
    score_by_endpoint,
)
from potstill.collect.served.reading_log import ReadingLog
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange
from potstill.exchanges.forming import formed
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import LikeliestTokens
from potstill.models.load import head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.models.teacher_tokens import TeacherTokens
from potstill.recipe import EndpointConfig
from potstill.terms.gate import Stated, decide
from potstill.terms.surfaces import evidence_of_endpoint
from potstill.text.turns import prompt_id_of
from reading_server import ReadingServer

COUNT = 5
SPEC = TargetSpec("top-k", COUNT)
MODEL = "smollm2-nano"
SCORER = f"test/{MODEL}"
KEY = "sk-very-secret-0123456789"


@pytest.fixture(scope="module")
def reader(nano_llama: Path) -> LoadedModel:
    return load(str(nano_llama), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def tokens(nano_llama: Path) -> TeacherTokens:
    return TeacherTokens.of(nano_llama)


@pytest.fixture
def texts(reader: LoadedModel, tmp_path: Path) -> list[GivenText]:
    """Forty stored exchanges of any ids at all, and themselves as ids."""
    store, found = ExchangeStore(tmp_path / "run"), made(len(reader.tokenizer))
    store.append([_row(t.exchange_id, ({"role": "user", "content": "Hello"},)) for t in found])
    store.close()
    return found


def made(width: int) -> list[GivenText]:
    found = []
    for number in range(40):
        draw = torch.Generator().manual_seed(number)
        prompt = torch.randint(width, (3 + number % 7,), generator=draw).tolist()
        response = torch.randint(width, (1 + number % 9,), generator=draw).tolist()
        found.append(GivenText(f"{number:064x}", tuple(prompt), tuple(response)))
    return found


def _row(exchange_id: str, messages: Any) -> Exchange:
    return Exchange(
        exchange_id=exchange_id,
        prompt_id=prompt_id_of(messages),
        split="train",
        messages=messages,
        response="something",
        prompt_token_ids=None,
        response_token_ids=None,
        tokenizer=None,
        finish_reason="stop",
        teacher="calls/some-model",
        sampling={},
        sample_index=0,
        terms_decision="allow",
        source="test",
        created_at="2026-11-26T00:00:00+00:00",
        engine="calls",
    )


def scored(
    server: FaultServer, texts: list[GivenText], tokens: TeacherTokens, root: Path, **more: Any
) -> tuple[ScoringFigures, set[str]]:
    """Have texts read; return the figures and the ids that have targets afterwards."""
    fields = {"url": server.url, "provider": "test", "top_logprobs": COUNT, "scores_text": True}
    config = EndpointConfig(**(fields | more))
    decision = decide(MODEL, evidence_of_endpoint(server.url, MODEL), Stated())
    store = ExchangeStore(root / "run")
    try:
        figures = score_by_endpoint(
            config,
            MODEL,
            texts,
            tokens,
            SPEC,
            store,
            log_of(root, tokens),
            decision,
            progress=pipeline_runs.Noted(),
            environ={"KEY": KEY},
        )
    finally:
        having = store.target_ids(SCORER, SPEC)
        store.close()
    return figures, having


def log_of(root: Path, tokens: TeacherTokens) -> ReadingLog:
    return ReadingLog(root / "readings.jsonl", tokens.tokenizer_id)


def charged(server: FaultServer) -> int:
    """Return the tokens of everything that the server was given to read."""
    return sum(len(body["prompt"]) + 1 for body in server.bodies)


def size(text: GivenText) -> int:
    return len(text.prompt_ids) + len(text.response_ids)


class _Picky(ReadingServer):
    """Tells too few tokens of some texts, by the length of what it is given."""

    def __init__(self, reader: LoadedModel, few: set[int]) -> None:
        super().__init__(reader)
        self._few = few

    def _read(self, ids: list[int], count: int) -> list[dict[str, dict[str, Any]]]:
        return super()._read(ids, 1 if len(ids) in self._few else count)


class _Odd(ReadingServer):
    """Tells numbers that are no distribution of some texts, by the length of what it is given."""

    def __init__(self, reader: LoadedModel, odd: set[int], logp: float) -> None:
        super().__init__(reader)
        self._odd, self._logp = odd, logp

    def _read(self, ids: list[int], count: int) -> list[dict[str, dict[str, Any]]]:
        told = super()._read(ids, count)
        if len(ids) in self._odd:
            for entries in told:
                for entry in entries.values():
                    entry["logprob"] = self._logp
        return told


@pytest.mark.parametrize(
    ("logp", "reason"),
    [
        (0.0, "log-probabilities whose probabilities add up to more than 1"),
        (float("nan"), "a log-probability that is none"),
        (0.5, "a log-probability that is none"),
        (-9999.0, "a mark in place of a log-probability (-9999 or the like)"),
    ],
)
def test_numbers_of_given_text_are_a_distribution_or_nothing(
    reader: LoadedModel,
    tokens: TeacherTokens,
    texts: list[GivenText],
    tmp_path: Path,
    logp: float,
    reason: str,
) -> None:
    odd = {size(texts[3]), size(texts[9])}
    lacking = {t.exchange_id for t in texts if size(t) in odd}
    with _Odd(reader, odd, logp) as server:
        figures, having = scored(server, texts, tokens, tmp_path)
    assert having == {t.exchange_id for t in texts} - lacking
    assert figures.without_targets == {reason: len(lacking)}


def test_targets_are_the_models_own_likeliest_tokens(
    reader: LoadedModel, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    with ReadingServer(reader) as server:
        figures, having = scored(server, texts, tokens, tmp_path, price_in=2.0, price_out=4.0)
        assert sorted(len(body["prompt"]) for body in server.bodies) == sorted(map(size, texts))
    assert having == {t.exchange_id for t in texts}
    assert (figures.texts, figures.scored, figures.without_targets) == (40, 40, {})
    read = sum(map(size, texts))
    assert (figures.prompt_tokens, figures.response_tokens) == (read, 40)
    assert figures.money == pytest.approx((2 * read + 4 * 40) / 1e6)
    assert figures.sentence("USD").startswith("40 of 40 answers that were read have the server's")
    store = ExchangeStore(tmp_path / "run")
    stored = store.targets(SCORER, SPEC, [t.exchange_id for t in texts])
    store.close()
    for text, values in zip(texts, stored, strict=True):
        (hidden_RD,) = response_hidden(reader, [(text.prompt_ids, text.response_ids)])
        own = formed(text.exchange_id, SCORER, hidden_RD, head_of(reader), SPEC).values
        assert isinstance(values, LikeliestTokens) and isinstance(own, LikeliestTokens)
        assert values.ids_RK.tolist() == own.ids_RK.tolist()
        # The store keeps fp16, and the server's batches round in their own way.
        told, expected = values.logp_RK.float(), own.logp_RK.float()
        torch.testing.assert_close(told, expected, rtol=2e-3, atol=2e-3)


def test_faults_are_tried_again_and_a_second_call_asks_for_the_rest_alone(
    reader: LoadedModel, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    behaviour = Behaviour(rate=0.3, seed=3, model=MODEL, delay_s=0.01)
    with ReadingServer(reader, behaviour) as server:
        _, some = scored(server, texts[:15], tokens, tmp_path, tries=9)
        assert len(some) == 15 and sum(server.met.values()) > 3
        server.bodies.clear()
        figures, having = scored(server, texts, tokens, tmp_path, tries=9)
        again = [tuple(body["prompt"]) for body in server.bodies]
    assert len(having) == 40 and figures.scored == 40
    assert not {(*t.prompt_ids, *t.response_ids) for t in texts[:15]} & set(again)


def test_what_was_read_for_nothing_is_paid_for_and_not_read_again(
    reader: LoadedModel, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    few = {size(texts[3]), size(texts[9])}
    lacking = {t.exchange_id for t in texts if size(t) in few}
    prices = {"price_in": 2.0, "price_out": 4.0}
    with _Picky(reader, few) as server:
        first, having = scored(server, texts, tokens, tmp_path, **prices)
        assert len(server.bodies) == 40
        again, _ = scored(server, texts, tokens, tmp_path, **prices)
        assert len(server.bodies) == 40
    reason = "the server gave fewer likeliest tokens than were asked for"
    assert having == {t.exchange_id for t in texts} - lacking
    assert first.without_targets == again.without_targets == {reason: len(lacking)}
    read = sum(map(size, texts))
    assert first.money == again.money == pytest.approx((2 * read + 4 * 40) / 1e6)
    assert again.sentence("USD").endswith(f"the others have none: {reason} ({len(lacking)})")


def test_the_budget_holds_over_calls_and_what_came_is_kept(
    reader: LoadedModel, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    with _Picky(reader, {size(texts[0])}) as server:
        for most in (100, 100, 160):
            with pytest.raises(PotstillError, match="the budget is used up before all text was"):
                scored(server, texts, tokens, tmp_path, budget_tokens=most)
            assert 0 < charged(server) <= most
            assert log_of(tmp_path, tokens).spent.total == charged(server)
        figures, _ = scored(server, texts, tokens, tmp_path, budget_tokens=10**6)
        assert figures.prompt_tokens + figures.response_tokens == charged(server)
        assert len(server.bodies) == 40


def test_an_outage_is_no_lack_of_targets(
    reader: LoadedModel, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    class Failing(ReadingServer):
        def _answer(self, body: dict[str, Any], model: str) -> dict[str, Any]:
            if self.requests > 12:
                return {"error": {"code": "down"}}
            return super()._answer(body, model)

    with Failing(reader) as server:
        with pytest.raises(PotstillError) as caught:
            scored(server, texts, tokens, tmp_path, tries=1, max_in_flight=1)
        assert server.requests == 40
    assert str(caught.value) == (
        "the server did not answer for 28 texts that it was to read: an error with status 200 "
        "(28); what was read is stored, run the same command again when it does"
    )
    with ReadingServer(reader) as server:
        figures, _ = scored(server, texts, tokens, tmp_path)
        assert figures.scored == 40 and server.requests == 28


def test_many_texts_that_are_too_long_do_not_stop_it(
    reader: LoadedModel, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    class Short(ReadingServer):
        async def _complete(self, body: Any, headers: Any, writer: Any) -> bool:
            if len(body["prompt"]) > 6:
                self.requests += 1
                told = error("context_length_exceeded", "maximum context length")
                return await send(writer, 400, told)
            return await super()._complete(body, headers, writer)

    long = [text for text in texts if size(text) > 6]
    assert len(long) > 16
    with Short(reader) as server:
        for _ in range(2):
            figures, having = scored(server, [*long, *texts], tokens, tmp_path)
            assert figures.without_targets["the prompt does not fit the server's context"]
            assert len(having) == 40 - len(long)


@pytest.mark.slow
def test_a_killed_call_has_stored_what_came(
    nano_llama: Path, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    script = tmp_path / "read.py"
    script.write_text(_KILLED, encoding="utf-8")
    places = (str(Path(__file__).parent), str(Path(__file__).parents[2]))
    process = subprocess.Popen(
        [sys.executable, str(script), str(nano_llama), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*places, *sys.path])},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() == "silent"
    time.sleep(1.0)  # five times the group's
    process.kill()
    process.wait()
    store = ExchangeStore(tmp_path / "run")
    assert len(store.target_ids(SCORER, SPEC)) == 10
    store.close()
    assert len(log_of(tmp_path, tokens).readings) == 10


# Ten texts are answered, the eleventh never.
_KILLED = """
import asyncio, sys
from pathlib import Path
import test_reading as tests
from potstill.collect.served.targets import TeacherTokens
from potstill.models.load import load

class Silent(tests.ReadingServer):
    async def _complete(self, body, headers, writer):
        if self.requests == 10:
            print("silent", flush=True)
            await asyncio.sleep(600)
        return await super()._complete(body, headers, writer)

model, root = Path(sys.argv[1]), Path(sys.argv[2])
tokens = TeacherTokens.of(model)
with Silent(load(str(model), device="cpu", precision="fp32")) as server:
    tests.scored(server, tests.made(len(tokens.tokenizer)), tokens, root, max_in_flight=1)
"""


def test_another_tokenizer_than_before_is_refused(
    reader: LoadedModel, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    with ReadingServer(reader) as server:
        scored(server, texts[:5], tokens, tmp_path)
        other = replace(tokens, tokenizer_id="blake3:other")
        with pytest.raises(PotstillError, match="another tokenizer or chat template than when"):
            scored(server, texts, other, tmp_path)


def test_no_key_gets_into_a_file(
    reader: LoadedModel, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    with ReadingServer(reader, Behaviour(model=MODEL, key=KEY)) as server:
        scored(server, texts, tokens, tmp_path, key_env="KEY")
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert files and not any(KEY.encode() in path.read_bytes() for path in files)


class _NoScores(ReadingServer):
    """llama.cpp's way: the field is not known, and the text goes on."""

    def _answer(self, body: dict[str, Any], model: str) -> dict[str, Any]:
        answer = super()._answer(body, model)
        del answer["choices"][0]["prompt_logprobs"]
        return answer


def test_a_server_that_reads_no_text_is_found_out_early(
    reader: LoadedModel, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    words = (
        "the server tells nothing to learn from of text that it was given to read (the server "
        "tells nothing of given text); take one that has vLLM's prompt_logprobs, for as many as "
        "teacher.endpoint.top_logprobs, and a student.model with its tokenizer, or start over "
        "without teacher.endpoint.scores_text"
    )
    with _NoScores(reader) as server:
        with pytest.raises(PotstillError) as caught:
            scored(server, texts, tokens, tmp_path, max_in_flight=1)
        assert server.requests == 16 and str(caught.value) == words
        # Started with what it lacks, it is given all of them again.
        config = EndpointConfig(url=server.url, provider="test", top_logprobs=COUNT)
        decision = decide(MODEL, evidence_of_endpoint(server.url, MODEL), Stated())
        with pytest.raises(PotstillError) as caught:
            require_reading(config, MODEL, tokens, SPEC, log_of(tmp_path, tokens), decision)
        assert server.requests == 17 and str(caught.value) == words
    with ReadingServer(reader) as server:
        figures, _ = scored(server, texts, tokens, tmp_path)
    assert figures.scored == 40


@pytest.mark.parametrize(
    ("behaviour", "fields", "words"),
    [
        (
            Behaviour(model=MODEL, rate=1.0, faults=("503",)),
            {},
            r"did not answer .* status 503 \(1",
        ),
        (Behaviour(model=MODEL), {"budget_tokens": 3}, "the budget is used up before"),
    ],
)
def test_an_outage_is_no_answer_to_whether_it_reads(
    behaviour: Behaviour,
    fields: dict[str, Any],
    words: str,
    reader: LoadedModel,
    tokens: TeacherTokens,
    tmp_path: Path,
) -> None:
    with ReadingServer(reader, behaviour) as server:
        endpoint = {"url": server.url, "provider": "test", "top_logprobs": COUNT, "tries": 1}
        config = EndpointConfig(**(endpoint | fields))
        decision = decide(MODEL, evidence_of_endpoint(server.url, MODEL), Stated())
        log = log_of(tmp_path, tokens)
        with pytest.raises(PotstillError, match=words):
            require_reading(config, MODEL, tokens, SPEC, log, decision)
        assert not log.readings


def test_a_server_without_completions_is_named_as_such(
    reader: LoadedModel, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    status = (404, {"detail": "Not Found"})
    with (
        ReadingServer(reader, Behaviour(model=MODEL, status=status)) as server,
        pytest.raises(PotstillError, match=r"reads no given text \(completions gave status 404\)"),
    ):
        scored(server, texts, tokens, tmp_path)


def test_another_tokenizers_ids_are_not_taken(
    reader: LoadedModel, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    with (
        ReadingServer(reader, shift=1) as server,
        pytest.raises(PotstillError, match="the server tells nothing of given text"),
    ):
        scored(server, texts, tokens, tmp_path)


def test_a_token_with_another_text_gives_no_targets(
    reader: LoadedModel, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    other = replace(tokens, eos_ids=tokens.eos_ids)
    other.__dict__["texts"] = ["?" + text for text in tokens.texts]
    with (
        ReadingServer(reader) as server,
        pytest.raises(PotstillError, match="a token's id that has another text"),
    ):
        scored(server, texts, other, tmp_path)
