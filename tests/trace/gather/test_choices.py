"""A suspect's own next token after marked text, by its weights and by its server alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from gathered import DIGEST, GREEN, ItemFile, killed, mark_of, server_suspect
from nano_text import prompts as nano_prompts

from fault_server import Behaviour
from potstill.errors import PotstillError
from potstill.models.chat import prompt_ids
from potstill.models.generate import Request, completions
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.models.sampling import Sampling
from potstill.trace.gather.choices import gather_choices
from potstill.trace.gather.local import LocalModel
from potstill.trace.gather.remote import RemoteModel
from potstill.trace.marks_in_choices import (
    ChoiceItem,
    MarkedText,
    MarksInChoicesPlanned,
    marks_in_choices_finding,
    planned_readings,
)
from potstill.watermark.marking import marking
from reading_server import ReadingServer


@pytest.fixture(scope="module")
def llama(nano_llama: Path) -> LoadedModel:
    return load(str(nano_llama), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def texts(llama: LoadedModel) -> list[MarkedText]:
    """Marked answers of the teacher."""
    asked = [
        tuple(prompt_ids(llama, ({"role": "user", "content": text},)))
        for text in nano_prompts()[:8]
    ]
    requests = [Request(f"served {i}", ids) for i, ids in enumerate(asked)]
    found = completions(llama, requests, Sampling(max_tokens=16), choose=marking(GREEN))
    return [
        MarkedText(salt=f"salt of {i:016}", prompt_ids=prompt, ids=done.token_ids)
        for i, (prompt, done) in enumerate(zip(asked, found, strict=True))
    ]


def planned(llama: LoadedModel, texts: list[MarkedText], n: int = 60) -> MarksInChoicesPlanned:
    mark = mark_of(llama)
    return MarksInChoicesPlanned(
        configuration="c", mark=mark, readings=planned_readings(texts, mark, n), n=n
    )


def gather(
    plan: MarksInChoicesPlanned, asked: Any, texts: list[MarkedText], log: ItemFile, **more: Any
) -> list[Any]:
    gather_choices(plan, asked, GREEN, texts, log.items, log.append, **more)
    return log.items


def by_hand(model: LoadedModel, text: MarkedText, position: int) -> int:
    """The likeliest token after a prompt and `position` tokens of the answer, read alone."""
    ids = [*text.prompt_ids, *text.ids[:position]]
    with torch.inference_mode():
        return int(model.network(torch.tensor([ids])).logits[0, -1].argmax())


def test_choices_are_the_suspects_likeliest_tokens_before_it_sees_the_next(
    llama: LoadedModel, texts: list[MarkedText], tmp_path: Path
) -> None:
    plan = planned(llama, texts)
    items = gather(plan, LocalModel(llama), texts, ItemFile(tmp_path / "a.jsonl", ChoiceItem))
    assert [item.index for item in items] == list(range(len(plan.readings)))
    for item, reading, text in zip(items, plan.readings, texts, strict=False):
        assert item.choices == tuple(by_hand(llama, text, t) for t in reading.positions)
    found = marks_in_choices_finding(plan, items, DIGEST, GREEN, texts)
    assert found.n == 60
    assert found.coins == 60 - sum(len(item.choices) for item in items)


def test_a_server_that_reads_ids_gives_the_same_items(
    llama: LoadedModel, texts: list[MarkedText], tmp_path: Path
) -> None:
    plan = planned(llama, texts)
    here = gather(plan, LocalModel(llama), texts, ItemFile(tmp_path / "a.jsonl", ChoiceItem))
    decoded = [llama.tokenizer.decode([i]) for i in range(len(llama.tokenizer))]
    with ReadingServer(llama) as server:
        remote = RemoteModel(server_suspect(server.url, scores_text=True), tmp_path / "spool.jsonl")
        log = ItemFile(tmp_path / "b.jsonl", ChoiceItem)
        there = gather(plan, remote, texts, log, decoded=decoded)
        assert server.requests == len(plan.readings)
        assert there == here
        again = ItemFile(tmp_path / "c.jsonl", ChoiceItem)
        assert gather(plan, remote, texts, again, decoded=decoded) == here
        assert server.requests == len(plan.readings)


def test_a_server_with_other_tokens_is_told(
    llama: LoadedModel, texts: list[MarkedText], tmp_path: Path
) -> None:
    decoded = [llama.tokenizer.decode([(i + 1) % 448]) for i in range(len(llama.tokenizer))]
    with ReadingServer(llama) as server:
        remote = RemoteModel(server_suspect(server.url, scores_text=True), tmp_path / "s.jsonl")
        log = ItemFile(tmp_path / "b.jsonl", ChoiceItem)
        with pytest.raises(PotstillError, match="has another tokenizer; take watermark-reading"):
            gather(planned(llama, texts), remote, texts, log, decoded=decoded)


@pytest.mark.parametrize(
    ("status", "outcome"),
    [((400, {"error": {"message": "no", "code": "bad_prompt"}}), "refused"), (None, "unreadable")],
)
def test_a_server_that_tells_nothing_has_coins(
    llama: LoadedModel,
    texts: list[MarkedText],
    tmp_path: Path,
    status: Any,
    outcome: str,
) -> None:
    plan = planned(llama, texts)
    behaviour = Behaviour(model="smollm2-nano", status=status)
    with ReadingServer(llama, behaviour, shift=0 if status else 7) as server:
        remote = RemoteModel(server_suspect(server.url, scores_text=True), tmp_path / "s.jsonl")
        items = gather(plan, remote, texts, ItemFile(tmp_path / "b.jsonl", ChoiceItem))
    assert {item.outcome for item in items} == {outcome}
    found = marks_in_choices_finding(plan, items, DIGEST, GREEN, texts)
    assert (found.coins, found.n) == (60, 60)
    assert found.void is not None


def test_a_killed_run_goes_on_to_the_same_items(
    llama: LoadedModel, texts: list[MarkedText], tmp_path: Path
) -> None:
    plan = planned(llama, texts)
    whole = gather(plan, LocalModel(llama), texts, ItemFile(tmp_path / "w.jsonl", ChoiceItem))
    path = tmp_path / "killed.jsonl"
    dying = ItemFile(path, ChoiceItem, dies_after=2)
    killed(lambda: gather_choices(plan, LocalModel(llama), GREEN, texts, [], dying.append))
    log = ItemFile(path, ChoiceItem)
    assert len(log.items) == 2
    resumed = gather(plan, LocalModel(llama), texts, log)
    assert resumed == whole


def test_where_the_suspect_has_no_room_there_is_no_choice(
    llama: LoadedModel, tmp_path: Path
) -> None:
    """Nano models read 256 tokens: the prompt alone takes nearly all of them."""
    text = MarkedText(salt="s" * 16, prompt_ids=(5,) * 250, ids=tuple(range(20, 40)))
    mark = mark_of(llama)
    readings = planned_readings([text], mark, 10)
    plan = MarksInChoicesPlanned(configuration="c", mark=mark, readings=readings, n=10)
    (item,) = gather(plan, LocalModel(llama), [text], ItemFile(tmp_path / "a.jsonl", ChoiceItem))
    made = [t for t, choice in zip(readings[0].positions, item.choices, strict=True) if choice]
    assert made == [t for t in readings[0].positions if t < 6]
    assert marks_in_choices_finding(plan, [item], DIGEST, GREEN, [text]).coins == 10 - len(made)


def test_another_tokenizer_is_refused_before_anything_is_read(
    llama: LoadedModel, texts: list[MarkedText], nano_qwen3: Path, tmp_path: Path
) -> None:
    other = load(str(nano_qwen3), device="cpu", precision="fp32")
    log = ItemFile(tmp_path / "a.jsonl", ChoiceItem)
    for tokens in (None, llama.tokenizer.get_vocab()):
        with pytest.raises(PotstillError, match="has another tokenizer; take the test out"):
            gather(planned(llama, texts), LocalModel(other), texts, log, tokens=tokens)
    # The same ids under another chat template are the teacher's.
    renamed = replace(llama, tokenizer_id="blake3:another template")
    with pytest.raises(PotstillError, match="has another tokenizer"):
        gather(planned(llama, texts), LocalModel(renamed), texts, log)
    tokens = llama.tokenizer.get_vocab()
    assert gather(planned(llama, texts), LocalModel(renamed), texts, log, tokens=tokens)


def test_other_texts_than_the_plans_are_refused(
    llama: LoadedModel, texts: list[MarkedText], tmp_path: Path
) -> None:
    log = ItemFile(tmp_path / "a.jsonl", ChoiceItem)
    plan = planned(llama, texts)
    with pytest.raises(PotstillError, match="marked text 0 is not the one of the plan"):
        gather(plan, LocalModel(llama), texts[::-1], log)
    with pytest.raises(PotstillError, match="and 1 are given"):
        gather(plan, LocalModel(llama), texts[:1], log)
