"""Collection from a real server: llama.cpp on loopback, serving SmolLM2."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from httpx2 import Client

from llama_server import MODEL, PACKAGE
from potstill.collect.served.answers import collect_from_endpoint
from potstill.collect.served.figures import EndpointFigures
from potstill.collect.served.own_text import OwnTextReader
from potstill.collect.served.step import TextReader
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, Prompt
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.exchanges.targets import LikeliestTokens
from potstill.models.sampling import Sampling
from potstill.models.teacher_tokens import TeacherTokens
from potstill.progress import Silent
from potstill.recipe import EndpointConfig
from potstill.terms import Stated, decide, evidence_of_endpoint
from potstill.text.turns import prompt_id_of
from potstill.work.access import Server

ASKED = ("Say only: hi", "Name a colour.", "What is two plus two?", "Name a river in France.")
SPEC = TargetSpec("top-k", 4)


def prompt(text: str) -> Prompt:
    messages = ({"role": "user", "content": text},)
    return Prompt(prompt_id_of(messages), messages, "train", "test")


def collected(
    url: str,
    root: Path,
    *,
    asked: tuple[str, ...] = ASKED,
    model: str = MODEL,
    samples: int = 1,
    temperature: float = 1.0,
    max_tokens: int = 10,
    tokens: TeacherTokens | None = None,
    top_logprobs: int = 0,
) -> tuple[EndpointFigures, list[Exchange], ExchangeStore]:
    config = EndpointConfig(
        url=url, provider="local", max_in_flight=8, top_logprobs=top_logprobs, tries=2
    )
    store = ExchangeStore(root)
    figures = collect_from_endpoint(
        config,
        model,
        [prompt(text) for text in asked],
        Sampling(temperature=temperature, max_tokens=max_tokens, seed=1),
        store,
        decide(model, evidence_of_endpoint(url, model), Stated()),
        samples=samples,
        tokens=tokens,
        spec=SPEC if tokens else None,
        progress=Silent(),
    )
    return figures, store.read(), store


def test_samples_of_a_real_model_are_stored(llama_url: str, tmp_path: Path) -> None:
    figures, rows, store = collected(llama_url, tmp_path, samples=3)
    store.close()
    assert (figures.stored, figures.failures, figures.requests) == (12, (), 4)
    assert figures.returned_models == {MODEL: 4}
    assert {row.finish_reason for row in rows} <= {"stop", "length"}
    assert len({row.response for row in rows}) > 6  # seeds differ, and so do samples
    # It counts one of three answers: all of them are charged.
    with Client(base_url=llama_url.removesuffix("/v1"), timeout=60) as client:
        ids = [client.post("/tokenize", json={"content": r.response}).json() for r in rows]
    assert figures.response_tokens >= sum(len(one["tokens"]) for one in ids)
    assert figures.response_tokens == sum(row.usage["completion_tokens"] for row in rows)
    assert figures.charged == {"estimated": 4}
    assert all(row.terms_decision.startswith("allow: apache-2.0") for row in rows)


def test_greedy_text_is_the_same_in_another_run(llama_url: str, tmp_path: Path) -> None:
    texts = []
    for name in ("one", "two"):
        _, rows, store = collected(llama_url, tmp_path / name, temperature=0, max_tokens=8)
        store.close()
        texts.append({row.exchange_id: row.response for row in rows})
    # Batches round differently, so that one response of four may part.
    same = sum(texts[0][key] == texts[1][key] for key in texts[0])
    assert texts[0].keys() == texts[1].keys()
    assert same >= 3


def test_a_prompt_beyond_the_context_fails_alone(llama_url: str, tmp_path: Path) -> None:
    long = "word " * 2_000
    figures, rows, store = collected(llama_url, tmp_path, asked=(long, *ASKED), max_tokens=4)
    store.close()
    assert figures.failed == {"the prompt does not fit the server's context": 1}
    assert len(rows) == 4


def test_a_name_that_the_server_does_not_have_is_refused(llama_url: str, tmp_path: Path) -> None:
    # llama.cpp itself would answer under any name.
    with pytest.raises(PotstillError, match=f"it offers {MODEL}"):
        collected(llama_url, tmp_path, model="gpt-oss")


def test_it_reads_no_text_of_a_student_and_says_so(
    llama_url: str, nano_llama: Path, tmp_path: Path
) -> None:
    """It takes ids, and goes on from them without a word of what they are to it."""
    config = EndpointConfig(
        url=llama_url, provider="local", top_logprobs=4, scores_text=True, tries=2
    )
    server, path = Server(MODEL, config, True), tmp_path / "readings.jsonl"
    decision = decide(MODEL, evidence_of_endpoint(llama_url, MODEL), Stated())
    reader = TextReader.of(server, TeacherTokens.of(nano_llama), SPEC, path, decision)
    assert reader is not None
    own = OwnTextReader(reader, ExchangeStore(tmp_path / "run"), tmp_path / "read")
    with pytest.raises(PotstillError, match=r"tells nothing of given text.*train.on_policy out"):
        own.check((5, 6, 7), (8, 9))


@pytest.mark.slow
def test_log_probabilities_become_targets(llama_url: str, tmp_path: Path) -> None:
    from potstill.models.chat import prompt_ids
    from potstill.models.gguf import converted, package_file
    from potstill.models.load import load

    directory = converted(package_file(PACKAGE))
    tokens = TeacherTokens.of(directory)
    figures, rows, store = collected(
        llama_url, tmp_path, tokens=tokens, top_logprobs=6, max_tokens=40
    )
    assert (figures.targets, figures.without_targets) == (4, {})
    model = load(str(directory), precision="fp32")
    (values,) = store.targets("local/SmolLM2-135M-Instruct", SPEC, [rows[0].exchange_id])
    assert isinstance(values, LikeliestTokens)
    assert rows[0].response_token_ids is not None
    assert rows[0].prompt_token_ids == tuple(prompt_ids(model, rows[0].messages))
    ids = torch.tensor([[*rows[0].prompt_token_ids, *rows[0].response_token_ids]])
    with torch.no_grad():
        logp = model.network(ids).logits.float().log_softmax(-1)[0]
    start = len(rows[0].prompt_token_ids) - 1
    ours = logp[start : start + len(values)].gather(1, values.ids_RK)
    # The same weights, quantised arithmetic there and fp32 here.
    assert (ours.exp() - values.logp_RK.exp()).abs().mean() < 0.02
    store.close()
