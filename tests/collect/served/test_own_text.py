"""A server reads what a student writes: once, whole, within the budget, or it is said why not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from fault_server import Behaviour, error, send
from own_readers import own_reader, text_reader
from pipeline_runs import Noted
from potstill.collect.served.own_text import OwnTextReader
from potstill.collect.served.reading_log import OWN, ReadingLog, own_texts_read, texts_read
from potstill.errors import PotstillError
from potstill.exchanges.store import ExchangeStore
from potstill.models.load import head_of, load
from potstill.models.loaded import LoadedModel
from potstill.models.score import PromptAndResponse, response_hidden
from potstill.models.teacher_tokens import TeacherTokens
from potstill.terms.gate import Stated, decide
from reading_server import ReadingServer

COUNT = 6


@pytest.fixture(scope="module")
def model(nano_llama: Path) -> LoadedModel:
    return load(str(nano_llama), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def tokens(nano_llama: Path) -> TeacherTokens:
    return TeacherTokens.of(nano_llama)


@pytest.fixture(scope="module")
def texts(model: LoadedModel) -> list[PromptAndResponse]:
    draw = torch.Generator().manual_seed(7)

    def ids(n: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, 440, (n,), generator=draw).tolist())

    return [(ids(3 + n % 4), (*ids(2 + n % 5), model.eos_ids[0])) for n in range(12)]


def size(texts: list[PromptAndResponse]) -> int:
    return sum(len(prompt) + len(response) for prompt, response in texts)


def test_it_tells_the_models_own_likeliest_tokens_and_is_asked_once(
    model: LoadedModel, tokens: TeacherTokens, texts: list[PromptAndResponse], tmp_path: Path
) -> None:
    with ReadingServer(model) as server:
        reader = own_reader(server, tokens, tmp_path, COUNT)
        found = reader.read([*texts, texts[0]], 0)
        again = reader.read(texts[::-1], 0)
        # Another process goes on from the disk.
        after = own_reader(server, tokens, tmp_path, COUNT)
        stored = after.read(texts, 3)
        assert server.requests == 12
        assert reader.figures() == after.figures()
        took = after.figures()
    assert (took.texts, took.prompt_tokens, took.response_tokens) == (12, size(texts), 12)
    assert took.money == pytest.approx((2 * size(texts) + 4 * 12) / 1e6)
    for text, one, other, kept in zip(texts, found[:-1], again[::-1], stored, strict=True):
        (hidden_RD,) = response_hidden(model, [text])
        logp_RV = head_of(model).logits(hidden_RD).log_softmax(-1)
        wanted_RK = logp_RV.topk(COUNT).indices.sort(-1).values
        assert one.ids_RK.tolist() == wanted_RK.tolist()
        torch.testing.assert_close(one.logp_RK, logp_RV.gather(1, wanted_RK), rtol=1e-4, atol=1e-4)
        assert torch.equal(one.logp_RK, other.logp_RK) and torch.equal(one.logp_RK, kept.logp_RK)
        assert torch.equal(one.rest_R, kept.rest_R)
    # Own text is none of the answers that were to be read.
    path = tmp_path / "readings.jsonl"
    assert (texts_read(path), own_texts_read(path)) == (0, 12)
    log = ReadingLog(path, tokens.tokenizer_id)
    assert log.spent_on_answers.total == 0 and log.spent == log.spent_on_own


def test_faults_are_tried_again_and_an_outage_asks_for_the_rest_alone(
    model: LoadedModel, tokens: TeacherTokens, texts: list[PromptAndResponse], tmp_path: Path
) -> None:
    class Failing(ReadingServer):
        def _answer(self, body: dict[str, Any], model: str) -> dict[str, Any]:
            if self.requests > 5:
                return {"error": {"code": "down"}}
            return super()._answer(body, model)

    with Failing(model) as server:
        reader = own_reader(server, tokens, tmp_path, COUNT, tries=1, max_in_flight=1)
        with pytest.raises(PotstillError, match=r"did not answer for 7 texts .* run the same"):
            reader.read(texts, 0)
    behaviour = Behaviour(rate=0.4, seed=2, model="smollm2-nano", delay_s=0.01)
    with ReadingServer(model, behaviour) as server:
        reader = own_reader(server, tokens, tmp_path, COUNT, tries=9)
        assert len(reader.read(texts, 0)) == 12
        asked = {tuple(body["prompt"]) for body in server.bodies}
        assert sum(server.met.values()) > 1
    assert asked == {(*prompt, *response) for prompt, response in texts[5:]}


def test_the_budget_holds_over_groups_and_with_what_may_have_been_charged(
    model: LoadedModel, tokens: TeacherTokens, texts: list[PromptAndResponse], tmp_path: Path
) -> None:
    most = size(texts[:6]) + 6 + 3
    with ReadingServer(model) as server:
        reader = own_reader(server, tokens, tmp_path, COUNT, budget_tokens=most, max_in_flight=1)
        reader.read(texts[:3], 0)
        with pytest.raises(PotstillError, match="the budget is used up before all text was read"):
            reader.read(texts[3:], 1)
        assert 3 < server.requests < 12
        assert sum(len(body["prompt"]) + 1 for body in server.bodies) <= most
    # A dropped connection may have been paid for: a later group's budget knows.
    behaviour = Behaviour(rate=1.0, faults=("dropped",), model="smollm2-nano")
    with ReadingServer(model, behaviour) as server:
        reader = own_reader(server, tokens, tmp_path / "b", COUNT, tries=2)
        with pytest.raises(PotstillError, match="did not answer for 1 texts"):
            reader.read(texts[:1], 0)
    log = ReadingLog(tmp_path / "b" / "readings.jsonl", tokens.tokenizer_id)
    assert log.spent_on_own.prompt == 2 * size(texts[:1]) and log.own_texts == 0
    assert own_texts_read(tmp_path / "b" / "readings.jsonl") == 0


class _Odd(ReadingServer):
    """Reads nothing, has another tokenizer, spells nothing, or has a short context."""

    def __init__(self, model: LoadedModel, how: str) -> None:
        super().__init__(model, shift=1 if how == "another tokenizer" else 0)
        self._how = how

    async def _complete(self, body: Any, headers: Any, writer: Any) -> bool:
        if self._how == "short" and len(body["prompt"]) > 12:
            told = error("context_length_exceeded", "maximum context length")
            return await send(writer, 400, told)
        return await super()._complete(body, headers, writer)

    def _answer(self, body: dict[str, Any], model: str) -> dict[str, Any]:
        if self._how == "reads nothing":
            body = {**body, "prompt_logprobs": None}
        return super()._answer(body, model)

    def _read(self, ids: list[int], count: int) -> list[dict[str, dict[str, Any]]]:
        told = super()._read(ids, count)
        spelt = {"spells nothing": "", "other texts": "zz"}.get(self._how)
        for entries in told if spelt is not None else []:
            for entry in entries.values():
                entry["decoded_token"] = spelt
        return told


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("reads nothing", r"\(the server tells nothing of given text\); take a server that has"),
        ("another tokenizer", r"tells nothing .* take train.on_policy out"),
        ("other texts", r"\(a token's id that has another text: another tokenizer, perhaps\)"),
        ("spells nothing", r"\(token ids alone, without the texts that they are compared by\)"),
        ("short", r"longer than the context of the server .* lower train.on_policy.max_tokens"),
    ],
)
def test_a_server_that_cannot_read_it_is_refused_at_the_first_text(
    how: str,
    words: str,
    model: LoadedModel,
    tokens: TeacherTokens,
    texts: list[PromptAndResponse],
    tmp_path: Path,
) -> None:
    prompt, response = texts[0][0] * 4, texts[0][1]
    with _Odd(model, how) as server:
        reader = own_reader(server, tokens, tmp_path, COUNT, max_in_flight=1)
        with pytest.raises(PotstillError, match=words):
            reader.check(prompt, response)
        # Put right, the same text is given to it again; what was refused is not taken for read.
        with pytest.raises(PotstillError, match=words):
            own_reader(server, tokens, tmp_path, COUNT).check(prompt, response)
    with ReadingServer(model) as server:
        own_reader(server, tokens, tmp_path, COUNT).check(prompt, response)
        own_reader(server, tokens, tmp_path, COUNT).check(prompt, response)
        assert server.requests == 1


def test_what_a_server_says_of_itself_is_watched_over_groups(
    model: LoadedModel, tokens: TeacherTokens, texts: list[PromptAndResponse], tmp_path: Path
) -> None:
    class Changing(ReadingServer):
        def _answer(self, body: dict[str, Any], model: str) -> dict[str, Any]:
            name = model if self.requests < 3 else "another"
            return super()._answer(body, name)

    noted = Noted()
    with Changing(model) as server:
        reader = own_reader(server, tokens, tmp_path, COUNT, progress=noted, max_in_flight=1)
        reader.read(texts[:2], 0)
        assert noted.notes == []
        reader.read(texts[2:4], 1)
    assert len(noted.notes) == 1 and "model name from smollm2-nano to another" in noted.notes[0]


def test_it_is_not_asked_where_the_terms_forbid_it(
    model: LoadedModel, tokens: TeacherTokens, tmp_path: Path
) -> None:
    denied = decide("unknown-model", (), Stated())
    assert not denied.permitted
    with ReadingServer(model) as server:
        reader = text_reader(server, tokens, tmp_path, COUNT, denied)
        with pytest.raises(PotstillError):
            OwnTextReader(reader, ExchangeStore(tmp_path / "run"), tmp_path / "read")
        assert server.requests == 0


def test_no_text_and_no_key_is_in_what_is_kept(
    model: LoadedModel, tokens: TeacherTokens, texts: list[PromptAndResponse], tmp_path: Path
) -> None:
    with ReadingServer(model) as server:
        own_reader(server, tokens, tmp_path, COUNT).read(texts[:2], 0)
    written = (tmp_path / "readings.jsonl").read_text()
    assert written.count(OWN) == 2
    spelt = model.tokenizer.decode(texts[0][1])
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or spelt not in path.read_text(errors="replace")
