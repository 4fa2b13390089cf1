"""A server reads stored text: its likeliest tokens are those of the model itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import pipeline_runs
from fault_server import Behaviour, FaultServer
from potstill.collect.endpoint_scoring import (
    GivenText,
    ScoringFigures,
    score_by_endpoint,
    scoring_note,
    spent_on_scoring,
)
from potstill.collect.endpoint_targets import TeacherTokens
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, prompt_id_of
from potstill.exchanges.forming import formed
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import LikeliestTokens
from potstill.models.endpoint.budget import Tokens
from potstill.models.load import head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.score import response_hidden
from potstill.recipe import EndpointConfig, TermsConfig
from potstill.terms.gate import decide
from potstill.terms.surfaces import evidence_of_endpoint
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
    store, found, rows = ExchangeStore(tmp_path / "run"), [], []
    for number in range(40):
        draw = torch.Generator().manual_seed(number)
        width = len(reader.tokenizer)
        prompt = torch.randint(width, (3 + number % 7,), generator=draw).tolist()
        response = torch.randint(width, (1 + number % 9,), generator=draw).tolist()
        messages = ({"role": "user", "content": f"number {number}"},)
        found.append(GivenText(f"{number:064x}", tuple(prompt), tuple(response)))
        rows.append(_row(found[-1].exchange_id, messages))
    store.append(rows)
    store.close()
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
    spent = more.pop("spent", None)
    config = EndpointConfig(**(fields | more))
    decision = decide(MODEL, evidence_of_endpoint(server.url, MODEL), TermsConfig())
    store = ExchangeStore(root / "run")
    try:
        figures = score_by_endpoint(
            config,
            MODEL,
            texts,
            tokens,
            SPEC,
            store,
            decision,
            spent=spent,
            progress=pipeline_runs.Noted(),
            environ={"KEY": KEY},
        )
    finally:
        having = store.target_ids(SCORER, SPEC)
        store.close()
    return figures, having


def test_targets_are_the_models_own_likeliest_tokens(
    reader: LoadedModel, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    with ReadingServer(reader) as server:
        figures, having = scored(server, texts, tokens, tmp_path, price_in=2.0, price_out=4.0)
        assert {len(body["prompt"]) for body in server.bodies} == {
            len(t.prompt_ids) + len(t.response_ids) for t in texts
        }
    assert having == {t.exchange_id for t in texts}
    assert (figures.texts, figures.scored, figures.without_targets) == (40, 40, {})
    read = sum(len(t.prompt_ids) + len(t.response_ids) for t in texts)
    assert (figures.prompt_tokens, figures.response_tokens) == (read, 40)
    assert spent_on_scoring(texts) == Tokens(read, 40)
    assert figures.money == pytest.approx((2 * read + 4 * 40) / 1e6)
    assert scoring_note(figures, "USD").startswith(f"score: the server read 40 of 40 texts, {read}")
    store = ExchangeStore(tmp_path / "run")
    stored = store.targets(SCORER, SPEC, [t.exchange_id for t in texts])
    store.close()
    for text, values in zip(texts, stored, strict=True):
        (hidden_RD,) = response_hidden(reader, [(text.prompt_ids, text.response_ids)])
        own = formed(text.exchange_id, SCORER, hidden_RD, head_of(reader), SPEC).values
        assert isinstance(values, LikeliestTokens) and isinstance(own, LikeliestTokens)
        assert values.ids_RK.tolist() == own.ids_RK.tolist()
        # The store keeps fp16, and the server's batches round in their own way.
        torch.testing.assert_close(
            values.logp_RK.float(), own.logp_RK.float(), rtol=2e-3, atol=2e-3
        )


def test_faults_are_tried_again_and_a_second_call_asks_for_the_rest_alone(
    reader: LoadedModel, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    behaviour = Behaviour(rate=0.3, seed=3, model=MODEL, delay_s=0.01)
    with ReadingServer(reader, behaviour) as server:
        _, some = scored(server, texts[:15], tokens, tmp_path, tries=9)
        assert len(some) == 15
        figures, having = scored(server, texts[15:], tokens, tmp_path, tries=9)
    assert len(having) == 40 and figures.scored == 25 and sum(server.met.values()) > 5
    assert sum(server.seen.values()) >= 40


def test_the_budget_stops_it_and_what_came_is_kept(
    reader: LoadedModel, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    spent = spent_on_scoring(texts[:10])
    most = spent.total + 100
    with ReadingServer(reader) as server:
        with pytest.raises(PotstillError, match="the budget is used up before all text was read"):
            scored(server, texts[10:], tokens, tmp_path, budget_tokens=most, spent=spent)
        charged = sum(len(body["prompt"]) + 1 for body in server.bodies)
    assert 0 < charged <= 100
    store = ExchangeStore(tmp_path / "run")
    kept = store.target_ids(SCORER, SPEC)
    store.close()
    assert kept and spent_on_scoring([t for t in texts if t.exchange_id in kept]).total == charged


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
    with _NoScores(reader) as server:
        with pytest.raises(PotstillError) as caught:
            scored(server, texts, tokens, tmp_path, max_in_flight=1)
        assert server.requests == 16
    assert str(caught.value) == (
        "the server gave no log-probabilities of any of the first 16 texts that it was to read "
        "(the server tells nothing of given text); take one that has vLLM's prompt_logprobs, for "
        "as many as teacher.endpoint.top_logprobs, and a student.model with its tokenizer, or take "
        "teacher.endpoint.scores_text out"
    )


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


def test_fewer_tokens_than_asked_for_give_no_targets(
    reader: LoadedModel, tokens: TeacherTokens, texts: list[GivenText], tmp_path: Path
) -> None:
    class Few(ReadingServer):
        def _read(self, ids: list[int], count: int) -> list[dict[str, dict[str, Any]]]:
            return super()._read(ids, 2)

    with Few(reader) as server:
        figures, having = scored(server, texts[:5], tokens, tmp_path)
    reason = "the server gave fewer likeliest tokens than were asked for"
    assert not having and figures.without_targets == {reason: 5}
    assert scoring_note(figures, "USD").endswith(f"the others have no targets: {reason} (5)")
