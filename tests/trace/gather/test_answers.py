"""Answers of weights and of files, as items of a plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gathered import DIGEST, GREEN, ItemFile, killed, mark_of
from made_keys import key_of
from nano_text import prompts as nano_prompts

from potstill.errors import PotstillError
from potstill.models.load import load
from potstill.models.loaded import LoadedModel
from potstill.trace.gather.answers import digest_of_text_file, gather_answers, read_collected
from potstill.trace.gather.local import LocalModel
from potstill.trace.marks_in_text import AnswerItem, MarksInTextPlanned, marks_in_text_finding
from potstill.trace.suspect import TextsSuspect
from potstill.watermark.schemes import GreenList

PROMPTS = tuple(nano_prompts()[:6])


@pytest.fixture(scope="module")
def llama(nano_llama: Path) -> LoadedModel:
    return load(str(nano_llama), device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def qwen3(nano_qwen3: Path) -> LoadedModel:
    return load(str(nano_qwen3), device="cpu", precision="fp32")


def planned(teacher: LoadedModel, **more: Any) -> MarksInTextPlanned:
    values: dict[str, Any] = {"prompts": PROMPTS, "samples": 2, "max_tokens": 12} | more
    return MarksInTextPlanned(configuration="c", mark=mark_of(teacher), **values)


def encoder(teacher: LoadedModel) -> Any:
    return lambda text: teacher.tokenizer(text, add_special_tokens=False)["input_ids"]


def gather(plan: MarksInTextPlanned, asked: Any, teacher: LoadedModel, log: ItemFile) -> list[Any]:
    gather_answers(plan, asked, GREEN, encoder(teacher), DIGEST, log.items, log.append)
    return log.items


def test_weights_answer_every_question_by_the_plans_seeds(
    llama: LoadedModel, tmp_path: Path
) -> None:
    plan, local = planned(llama), LocalModel(llama, slots=4)
    items = gather(plan, local, llama, ItemFile(tmp_path / "a.jsonl", AnswerItem))
    assert [item.index for item in items] == list(range(12))
    assert all(item.answered for item in items)
    # The suspect's own ids, its end included; not its text's.
    ends = [item.ids[-1] in llama.eos_ids for item in items]
    assert any(ends)
    assert all(len(item.ids) == 12 for item, ended in zip(items, ends, strict=True) if not ended)
    assert items[0].ids != items[6].ids  # two samples of one prompt
    assert marks_in_text_finding(plan, items, DIGEST, GREEN).n > 20
    again = gather(plan, local, llama, ItemFile(tmp_path / "b.jsonl", AnswerItem))
    assert again == items


def test_a_killed_run_goes_on_to_the_same_items(llama: LoadedModel, tmp_path: Path) -> None:
    plan, local = planned(llama), LocalModel(llama, slots=3, wave=2)
    whole = gather(plan, local, llama, ItemFile(tmp_path / "whole.jsonl", AnswerItem))
    path = tmp_path / "killed.jsonl"
    killed(lambda: _gather_in_child(plan, local, llama, ItemFile(path, AnswerItem, dies_after=4)))
    log = ItemFile(path, AnswerItem)
    assert len(log.items) == 4
    assert gather(plan, local, llama, log) == whole


def _gather_in_child(
    plan: MarksInTextPlanned, local: LocalModel, teacher: LoadedModel, log: ItemFile
) -> None:
    gather(plan, local, teacher, log)


def test_another_tokenizers_text_is_cut_into_the_teachers_ids(
    llama: LoadedModel, qwen3: LoadedModel, tmp_path: Path
) -> None:
    plan = planned(llama, samples=1)
    items = gather(plan, LocalModel(qwen3), llama, ItemFile(tmp_path / "a.jsonl", AnswerItem))
    assert all(item.ids == tuple(encoder(llama)(item.text)) for item in items if item.answered)
    assert sum(item.answered for item in items) >= 4


def test_a_prompt_that_does_not_fit_is_an_error_and_no_skip(
    llama: LoadedModel, tmp_path: Path
) -> None:
    plan = planned(llama, prompts=("Tell me about the fox.", "fox " * 400), samples=1)
    items = gather(plan, LocalModel(llama), llama, ItemFile(tmp_path / "a.jsonl", AnswerItem))
    assert [item.outcome for item in items] == ["answered", "error"]


def test_the_key_has_to_be_the_plans(llama: LoadedModel, tmp_path: Path) -> None:
    other = GreenList(key_of("another"), 2, 0.5, 4.0)
    with pytest.raises(PotstillError, match="this is not the key of the plan"):
        gather_answers(planned(llama), LocalModel(llama), other, encoder(llama), DIGEST, [], print)


def test_collected_texts_are_read_and_empty_ones_counted(
    llama: LoadedModel, tmp_path: Path
) -> None:
    file = tmp_path / "said.jsonl"
    rows = [{"text": "The fox is red."}, {"text": "The owl is brown."}]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    texts = TextsSuspect(name="x", paths=(str(file),), digests=(digest_of_text_file(str(file)),))
    plan = planned(llama, prompts=(), samples=1, collected=2)
    items = gather(plan, texts, llama, ItemFile(tmp_path / "a.jsonl", AnswerItem))
    assert [item.text for item in items] == [row["text"] for row in rows]
    assert marks_in_text_finding(plan, items, DIGEST, GREEN).n > 3
    with pytest.raises(PotstillError, match="hold 2 texts, and the plan was made for 3"):
        gather(
            planned(llama, prompts=(), samples=1, collected=3),
            texts,
            llama,
            ItemFile(tmp_path / "b.jsonl", AnswerItem),
        )
    file.write_text('{"text": "Something else."}\n')
    with pytest.raises(PotstillError, match="is not the one of the plan"):
        read_collected(texts, llama.tokenizer_id)
    with pytest.raises(PotstillError, match="does not exist"):
        digest_of_text_file(str(tmp_path / "none.txt"))


def test_ids_of_another_tokenizer_are_refused(llama: LoadedModel, tmp_path: Path) -> None:
    file = tmp_path / "said.jsonl"
    file.write_text(json.dumps({"token_ids": [1, 2, 3], "tokenizer": "blake3:other"}) + "\n")
    texts = TextsSuspect(name="x", paths=(str(file),))
    with pytest.raises(PotstillError, match="ids of another tokenizer"):
        read_collected(texts, llama.tokenizer_id)
    assert read_collected(texts, "blake3:other")[0].ids == (1, 2, 3)


def test_a_file_cannot_be_asked_and_a_model_is_no_file(llama: LoadedModel, tmp_path: Path) -> None:
    log = ItemFile(tmp_path / "a.jsonl", AnswerItem)
    texts = TextsSuspect(name="x", paths=("none.txt",))
    with pytest.raises(PotstillError, match="asks prompts, and the suspect is a file"):
        gather(planned(llama), texts, llama, log)
    with pytest.raises(PotstillError, match="reads collected texts, and the suspect is a model"):
        gather(planned(llama, prompts=(), samples=1, collected=1), LocalModel(llama), llama, log)


def test_a_wave_is_as_many_questions_as_slots_and_waves_say(llama: LoadedModel) -> None:
    assert replace(LocalModel(llama), slots=3, wave=4).wave_size == 12
