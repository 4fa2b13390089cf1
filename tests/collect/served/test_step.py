"""The reading step as a function: which answers a server is given to read, and what is said."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from opened_models import open_models
from pipeline_runs import Noted, recipe_values
from potstill.collect.served.reading_log import texts_read
from potstill.collect.served.step import TextReader, check_reading, read_answers
from potstill.errors import PotstillError
from potstill.exchanges.exchange import Exchange, exchange_id_of
from potstill.exchanges.rows import Mark
from potstill.exchanges.specs import TargetSpec
from potstill.exchanges.store import ExchangeStore
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.teacher_tokens import TeacherTokens
from potstill.recipe import EndpointConfig, Recipe
from potstill.terms.gate import Stated, decide
from potstill.terms.licences import Evidence
from potstill.work.access import Server
from potstill.work.corpus import Corpus
from reading_server import ReadingServer

COUNT = 5
SPEC = TargetSpec("top-k", COUNT)
NAME = "smollm2-nano"
ALLOWED = decide(NAME, (Evidence("apache-2.0", "test", "apache-2.0"),), Stated())


@pytest.fixture(scope="module")
def model(nano_llama: Path) -> LoadedModel:
    return load(str(nano_llama), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def tokens(nano_llama: Path) -> TeacherTokens:
    return TeacherTokens.of(nano_llama)


def server_at(url: str, **fields: Any) -> Server:
    given = {"top_logprobs": COUNT, "scores_text": True, "price_in": 2.0, "price_out": 4.0}
    config = EndpointConfig(url=url, provider="test", **{**given, **fields})
    return Server(NAME, config, tells_targets=True)


def reader_at(url: str, tokens: TeacherTokens, folder: Path, **fields: Any) -> TextReader:
    server = server_at(url, **fields)
    found = TextReader.of(server, tokens, SPEC, folder / "readings.jsonl", ALLOWED)
    assert found is not None
    return found


def row(text: str, split: str = "train", **more: Any) -> Exchange:
    messages = ({"role": "user", "content": text},)
    fields: dict[str, Any] = {
        "exchange_id": exchange_id_of("calls/a", messages, {}, 0),
        "prompt_id": text,
        "split": split,
        "messages": messages,
        "response": f"The answer to {text}",
        "prompt_token_ids": None,
        "response_token_ids": None,
        "tokenizer": None,
        "finish_reason": "stop",
        "teacher": "calls/a",
        "sampling": {},
        "sample_index": 0,
        "terms_decision": "allow",
        "source": "test",
        "created_at": "2026-01-01",
    }
    return Exchange(**{**fields, **more})


def corpus_of(store: ExchangeStore, student: Path, url: str, rows: list[Exchange]) -> Corpus:
    """Return answers of a log, which the server at `url` reads."""
    store.append(rows)
    values = recipe_values(
        NAME,
        "unused",
        student={"model": str(student)},
        collect={
            "calls": {"path": "calls.jsonl", "source": "apache-2.0"},
            "targets": "top-k",
            "top_k_targets": COUNT,
        },
    )
    values["shrink"] = {}
    values["teacher"]["endpoint"] = {
        "url": url,
        "provider": "test",
        "top_logprobs": COUNT,
        "scores_text": True,
    }
    opened = open_models(Recipe.model_validate(values), store)
    return Corpus(store, opened, "calls/a", SPEC, "keep", lambda _: True)


def test_nothing_reads_without_a_server_that_does(tokens: TeacherTokens, tmp_path: Path) -> None:
    server, path = server_at("http://127.0.0.1:1/v1"), tmp_path / "readings.jsonl"
    assert TextReader.of(None, tokens, SPEC, path, ALLOWED) is None
    assert TextReader.of(server, None, SPEC, path, ALLOWED) is None
    assert TextReader.of(server, tokens, None, path, ALLOWED) is None
    deaf = server_at("http://127.0.0.1:1/v1", scores_text=False)
    assert TextReader.of(deaf, tokens, SPEC, path, ALLOWED) is None
    assert not path.exists() and texts_read(path) == 0


def test_a_server_is_tried_once_in_a_run(
    model: LoadedModel, tokens: TeacherTokens, store: ExchangeStore, tmp_path: Path
) -> None:
    with ReadingServer(model) as server:
        reader = reader_at(server.url, tokens, tmp_path)
        check_reading(reader, store)
        assert server.requests == 1 and reader.spent.total > 0
        check_reading(reader, store)
        again = reader_at(server.url, tokens, tmp_path)
        check_reading(again, store)
        assert server.requests == 1 and again.spent == reader.spent
    # What it was tried with is no text of anybody's.
    assert texts_read(tmp_path / "readings.jsonl") == 0


class _Deaf(ReadingServer):
    """Answers, and tells nothing of what it was given."""

    def _answer(self, body: dict[str, Any], model: str) -> dict[str, Any]:
        return super()._answer({**body, "prompt_logprobs": None}, model)


def test_a_server_that_tells_nothing_of_given_text_is_refused(
    model: LoadedModel, tokens: TeacherTokens, store: ExchangeStore, tmp_path: Path
) -> None:
    with _Deaf(model) as server:
        reader = reader_at(server.url, tokens, tmp_path)
        with pytest.raises(PotstillError, match="tells nothing to learn from"):
            check_reading(reader, store)


def test_kept_training_answers_without_targets_are_read_and_no_others(
    nano_llama: Path,
    model: LoadedModel,
    tokens: TeacherTokens,
    store: ExchangeStore,
    tmp_path: Path,
) -> None:
    call = json.dumps([{"function": {"name": "find", "arguments": "{}"}}])
    rows = [
        *(row(f"question {n}") for n in range(4)),
        row("dropped"),
        row("held", "held_out"),
        row("watched", "validation"),
        row("reasoned", reasoning="Because."),
        row("called", tool_calls=call),
    ]
    with ReadingServer(model) as server:
        corpus = corpus_of(store, nano_llama, server.url, rows)
        store.mark([Mark(rows[4].exchange_id, "curate", False, "empty")])
        reader, progress = reader_at(server.url, tokens, tmp_path), Noted()
        found = read_answers(reader, corpus, currency="EUR", progress=progress)
        spoken = model.conversation
        texts = [
            [*spoken.prompt_ids(r.messages), *spoken.tokenizer(r.response)["input_ids"]]
            for r in rows[:4]
        ]
        asked = [body["prompt"] for body in server.bodies]
        assert len(asked) == 4
        assert all(any(ids[: len(text)] == text for ids in asked) for text in texts)
        again = read_answers(reader, corpus, currency="EUR", progress=Noted())
        assert server.requests == 4
    scorer = reader.server.identity
    assert store.target_ids(scorer, SPEC) == {r.exchange_id for r in rows[:4]}
    assert (found.texts, found.scored, found.without_targets) == (4, 4, {})
    assert found.prompt_tokens == sum(map(len, asked))
    assert found.money == pytest.approx((2 * found.prompt_tokens + 4 * 4) / 1e6)
    assert found.note.startswith("4 of 4 answers that were read") and "EUR" in found.note
    assert found.note.endswith("; 2 with reasoning or tool calls were not read")
    assert progress.notes == [f"read: {found.note}"]
    assert again.model_copy(update={"seconds": found.seconds}) == found
    assert texts_read(tmp_path / "readings.jsonl") == 4


def test_what_a_server_answered_itself_counts_towards_its_budget(
    nano_llama: Path,
    model: LoadedModel,
    tokens: TeacherTokens,
    store: ExchangeStore,
    tmp_path: Path,
) -> None:
    own = replace(
        row("paid"),
        teacher=f"test/{NAME}",
        usage={"prompt_tokens": 500, "completion_tokens": 500},
        response_token_ids=(1,),
        prompt_token_ids=(1,),
        tokenizer=tokens.tokenizer_id,
    )
    with ReadingServer(model) as server:
        corpus = corpus_of(store, nano_llama, server.url, [row("question"), own])
        reader = reader_at(server.url, tokens, tmp_path, budget_tokens=1010)
        with pytest.raises(PotstillError, match="budget is used up before all text was read"):
            read_answers(reader, corpus, currency="EUR", progress=Noted())
        assert server.requests == 0
