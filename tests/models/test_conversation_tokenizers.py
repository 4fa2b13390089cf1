"""Tokenizers that put spaces in or take them away: the same words are trained and read."""

from __future__ import annotations

import dataclasses
import json

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from chat_families import USER, Family, family, frame, spoken, tokenizer_of
from potstill.models.conversation import Conversation, Reply

ANSWERS = ("Yes.", " Yes. ", "\nYes.\n", "Yes,\n\nno", "See </s> there")


def old(name: str) -> Family:
    """Return a family with a tokenizer that puts a space behind every special token."""
    kind = family(name)
    special = [t for t in kind.special if t not in ("<s>", "</s>", "<unk>")]
    return dataclasses.replace(
        kind, name=f"{name}, old", tokenizer="sentencepiece, old", special=special
    )


@pytest.mark.parametrize(
    "name", ["Llama 2", "Mistral v1", "Zephyr", "Vicuna", "a base model of sentencepiece"]
)
def test_old_sentencepiece_is_trained_on_the_ids_of_the_whole_text(name: str) -> None:
    kind = old(name)
    tokenizer = tokenizer_of(kind)
    talk = Conversation.of(tokenizer, name=kind.name)
    before, behind = frame(kind)
    for answer in ANSWERS[:-1]:
        text = talk.prompt_text([USER]) + before + answer + behind
        whole = tokenizer(text, add_special_tokens=kind.template is None)["input_ids"]
        reply = Reply(answer)
        assert [*talk.prompt_ids([USER]), *talk.reply_ids([USER], reply)] == whole
        assert talk.read(talk.reply_ids([USER], reply)) == reply


@pytest.mark.parametrize(
    "name", ["ChatML", "Magistral", "Qwen 3", "gpt-oss", "Command A Reasoning", "Mistral v7 Tekken"]
)
@pytest.mark.parametrize("answer", ANSWERS, ids=repr)
def test_a_space_that_only_the_tokenizer_writes_is_not_read(name: str, answer: str) -> None:
    kind = old(name)
    talk = Conversation.of(tokenizer_of(kind), date="2026-11-29", name=kind.name)
    for reply in (Reply(answer), Reply(answer, reasoning="why")):
        assert talk.read(talk.reply_ids([USER], reply)) == reply


@pytest.mark.parametrize("tokenizer", ["bytes", "sentencepiece", "sentencepiece, old"])
@pytest.mark.parametrize("answer", ANSWERS, ids=repr)
def test_tokens_that_take_the_white_space_behind_them_leave_the_answers(
    tokenizer: str, answer: str
) -> None:
    # As Phi-3's are: the line break behind <|assistant|> is part of the token.
    kind = dataclasses.replace(family("Phi-3"), name=tokenizer, tokenizer=tokenizer)
    state = json.loads(tokenizer_of(kind).backend_tokenizer.to_str())
    for token in state["added_tokens"]:
        token["rstrip"] = token["content"].startswith("<|")
    taking = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), eos_token=kind.eos
    )
    taking.chat_template = kind.template
    stops = sorted(kind.token_ids(kind.stop))
    talk = Conversation.of(taking, stop_ids=stops, name="Phi-3")
    ids = talk.reply_ids([USER], Reply(answer))
    assert talk.read(ids) == Reply(answer)
    assert spoken(kind, ids[-1:]) == "<|end|>"
    assert ids[-1] in talk.stop_ids
    assert not set(ids[:-1]) & set(talk.stop_ids)
